"""What the frameworks at the door would do by themselves, and what is done instead: see docs/explain/security.md."""

from __future__ import annotations

import asyncio
import html
import re

import pytest
from fastapi import APIRouter

from recado.api.install import PARTS
from recado.api.shared import reference
from recado.app import server
from recado.simulator import app as simulator
from recado.simulator.app import SimulatorSettings
from tests.api.programs import Office
from tests.simulator.simulator_browser import browser_test, chromium


async def test_nobody_is_ever_sent_elsewhere_whatever_stands_around_a_path(office: Office) -> None:
    paths = [route.path for part in PARTS for route in part.router.routes if "{" not in route.path]
    paths += ["/healthz", "/readyz", "/docs", "/openapi.json", "/channels/twilio/v1/webhooks/inbound", "/media/x", "/"]
    for path in paths:
        for asked in (path + "/", path + "//", "/" + path, path.replace("/", "//"), path + "/..", path + "%2f"):
            if asked == "//":
                continue
            for method in ("GET", "POST"):
                answer = await office.admin.ask(method, f"http://api.test{asked}", follow_redirects=False)
                assert not 300 <= answer.status_code < 400, f"{method} {asked}: {answer.headers.get('location')}"
                assert "location" not in answer.headers
    for asked in ("/v1/users/", "/v1/twilio-accounts/"):
        answer = await office.admin.ask("GET", asked)
        assert (answer.status_code, answer.json()["title"]) == (404, "Not found")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_methods_that_no_route_has_are_405_with_those_that_it_has(office: Office) -> None:
    for method in ("OPTIONS", "TRACE", "CONNECT", "PROPFIND", "HEAD"):
        answer = await office.admin.ask(method, "/v1/users", headers={"Origin": "https://elsewhere.example"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    overridden = {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "DELETE", "X-Method-Override": "DELETE"}
    path = f"/v1/keys/{office.ids['key_id']}"
    assert (await office.admin.ask("POST", path, headers=overridden)).status_code == 405
    assert (await office.admin.ask("POST", f"{path}?_method=DELETE")).status_code == 405


async def test_the_page_of_another_site_may_read_nothing(office: Office) -> None:
    paths = [route.path for part in PARTS for route in part.router.routes if "{" not in route.path]
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for path in [*paths, "/healthz", "/openapi.json", "/channels/twilio/v1/webhooks/inbound"]:
        for method, more in (("GET", {}), ("OPTIONS", preflight)):
            asked = {"Origin": "https://elsewhere.example", **more}
            answer = await office.admin.ask(method, path, headers=asked)
            assert not [name for name in answer.headers if name.startswith("access-control-")], f"{method} {path}"
            assert method == "GET" or answer.status_code == 405, path


async def test_no_header_makes_a_url_of_ours_another(office: Office) -> None:
    headers = {"X-Forwarded-Prefix": "/evil", "X-Original-URL": "/v1/users", "X-Rewrite-URL": "/v1/users"}
    answer = await office.admin.ask("GET", "/healthz", headers=headers | {"Host": "evil.example"})
    assert answer.json() == {"status": "ok"}
    assert "evil" not in str(answer.headers)
    described = (await office.admin.ask("GET", "/openapi.json", headers={"Host": "evil.example"})).text
    assert "evil" not in described


async def test_the_frameworks_own_pages_are_not_there(office: Office) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect", "/docs/swagger-ui-bundle.js"):
        assert (await office.admin.ask("GET", path)).status_code == 404
    page = await office.admin.ask("GET", "/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", page.text)
    policy = page.headers["content-security-policy"]
    assert set(policy.split("; ")) == {
        *("default-src 'none'", "style-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'")
    }
    others = ("x-content-type-options", "referrer-policy", "cross-origin-opener-policy")
    assert [page.headers[name] for name in others] == ["nosniff", "no-referrer", "same-origin"]
    for path, operations in office.front.app.openapi()["paths"].items():
        for method in operations:
            assert f"<b>{method.upper()}</b> <code>{path.replace('&', '&amp;')}</code>" in page.text


async def test_the_page_says_of_every_route_what_it_does_who_may_ask_and_what_is_allowed(office: Office) -> None:
    page = re.sub(r"<[^>]+>", "", (await office.admin.ask("GET", "/docs")).text)
    described = office.front.app.openapi()
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert " " in operation.get("description", ""), path
    for name in described["components"]["securitySchemes"]:
        assert re.search(rf"{name}By (Authorization: Bearer|the cookie \S+)\. ", page), name
    assert "integer, from 1, to 100, else 50" in page
    assert "string or null, at least 1 long, at most 16000 long" in page
    assert 'For instance {"body": "Seu pedido está pronto."}' in html.unescape(page)


def test_nothing_in_the_description_is_markup() -> None:
    evil = "<script>alert(1)</script>\"'`<script>alert(2)</script>`"
    shown = reference.render(
        {
            "info": {"title": evil, "version": evil, "description": evil},
            "paths": {
                f"/{evil}": {
                    "get": {
                        "tags": [evil],
                        "operationId": evil,
                        "description": evil,
                        "security": [{evil: [evil]}],
                        "parameters": [{"name": evil, "in": evil, "description": evil, "schema": {"type": evil}}],
                        "requestBody": {"content": {evil: {"schema": {"$ref": evil}}}},
                        "responses": {evil: {"description": evil, "content": {evil: {"schema": {"enum": [evil]}}}}},
                    }
                }
            },
            "components": {
                "securitySchemes": {evil: {"in": evil, "name": evil, "description": evil}},
                "schemas": {
                    evil: {
                        "examples": [{evil: evil}],
                        "properties": {evil: {"const": evil, "description": evil, "pattern": evil, "default": evil}},
                    }
                },
            },
        }
    )
    assert "<script" not in shown
    assert not re.search(r"<[^>]*alert\(", shown)


async def test_no_program_is_embedded_that_listens_to_the_environment(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    config = server(office.front.app, "127.0.0.1", 0).config
    off = ("proxy_headers", "server_header", "date_header", "access_log", "http2", "root_path")
    assert [getattr(config, name) for name in off] == [False, False, False, False, False, ""]
    assert (config.forwarded_allow_ips, config.workers, config.ws, config.lifespan) == ([], 1, "none", "on")
    assert not office.front.app.debug
    assert not office.front.app.router.redirect_slashes
    assert office.front.app.docs_url is office.front.app.redoc_url is None
    made = simulator.create_app(SimulatorSettings())
    assert not made.router.redirect_slashes
    assert made.docs_url is made.redoc_url is None
    theirs = simulator._server(made, asyncio.Event()).config
    assert [getattr(theirs, name) for name in off] == [False, False, False, False, False, ""]
    assert (theirs.forwarded_allow_ips, theirs.ws) == ([], "none")


def test_no_router_of_ours_takes_forms_or_files_by_the_frameworks_own_parser() -> None:
    for part in PARTS:
        router: APIRouter = part.router
        for route in router.routes:
            body = getattr(route, "body_field", None)
            assert body is None or "Form" not in type(body.field_info).__name__, route.path


async def test_a_server_answers_without_naming_itself_and_takes_no_websocket(office: Office) -> None:
    made = server(office.front.app, "127.0.0.1", 0)
    made.config.lifespan = "off"
    task = asyncio.create_task(made.serve())
    while not made.started:
        await asyncio.sleep(0.01)
    try:
        port = made.servers[0].sockets[0].getsockname()[1]

        async def ask(head: str) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return answer

        plain = await ask("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert plain.startswith(b"HTTP/1.1 200")
        assert b"\nserver:" not in plain.lower()
        upgrade = await ask(
            "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert upgrade.startswith(b"HTTP/1.1 200")
        slash = await ask("GET /v1/users/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\r\n")
        assert slash.startswith(b"HTTP/1.1 404")
        assert b"location:" not in slash.lower()
    finally:
        made.should_exit = True
        await task


@browser_test[0]
@browser_test[1]
async def test_a_browser_that_opens_the_description_asks_nobody_else(office: Office) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    made = server(office.front.app, "127.0.0.1", 0)
    made.config.lifespan = "off"
    task = asyncio.create_task(made.serve())
    while not made.started:
        await asyncio.sleep(0.01)
    port = made.servers[0].sockets[0].getsockname()[1]
    try:
        async with chromium() as browser:
            page = await browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            await page.goto(f"http://127.0.0.1:{port}/docs", wait_until="networkidle")
            assert await page.locator("h3").count() > 50
            assert await page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
            assert await page.locator("p > code", has_text="proven").count()
            for width in (1280, 390, 320):
                await page.set_viewport_size({"width": width, "height": 800})
                assert await page.evaluate("document.documentElement.scrollWidth") == width, "nothing stands outside"
    finally:
        made.should_exit = True
        await task
    ours = f"http://127.0.0.1:{port}"
    assert {url.removeprefix(ours) for url in asked} <= {"/docs", "/docs/style.css", "/favicon.ico"}
    assert [text for text in complaints if "favicon" not in text and "404" not in text] == []
