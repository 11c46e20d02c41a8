"""Cookies as the door takes them: whose role they have, from which pages, under which name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.api.browsers import COOKIE, Browser, join
from tests.api.programs import Office, Program
from tests.journey.front import open_front


async def test_a_user_reads_and_writes_as_far_as_their_role_reaches(office: Office) -> None:
    path = f"/v1/conversations/{office.conversation_id}"
    statuses = {}
    for role in ("viewer", "operator", "admin"):
        browser = (await join(office.front, role)).browser
        statuses[role] = [
            (await browser.ask("GET", path)).status_code,
            (await browser.ask("POST", f"{path}/messages", json={"body": "Oi"})).status_code,
            (await browser.ask("GET", "/v1/keys")).status_code,
        ]
    assert statuses == {"viewer": [200, 403, 403], "operator": [200, 201, 403], "admin": [200, 201, 200]}


async def test_where_there_is_a_key_the_cookie_counts_for_nothing(office: Office) -> None:
    admin = (await join(office.front, "admin")).browser
    reader = await office.program("read")
    for authorization, status in (
        ("Bearer rk_wrong", 401),
        ("Basic YTpi", 401),
        ("", 401),
        (f"Bearer {reader.key}", 403),
    ):
        answer = await admin.ask("GET", "/v1/keys", headers={"Authorization": authorization})
        assert answer.status_code == status, authorization


async def test_a_key_needs_no_page_of_ours(office: Office) -> None:
    answer = await office.admin.ask(
        "POST", "/v1/keys", json={"name": "x", "scopes": ["read"]}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://hooks.example.com"}, 200),
        ({"Origin": "https://HOOKS.example.com:443"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://console.example.com"}, 200),
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://hooks.example.com"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://hooks.example.com.evil.example"}, 403),
        ({"Origin": "https://evil.hooks.example.com"}, 403),
        ({"Origin": "https://hooks.example.com:8443"}, 403),
        ({"Origin": "http://hooks.example.com"}, 403),
        ({"Origin": "https://hooks.example.com:x"}, 403),
        ({"Origin": "https://[::1"}, 403),
        ({"Origin": "file://"}, 403),
    ],
)
async def test_with_a_cookie_only_our_own_pages_change_anything(
    office: Office, headers: dict[str, str], status: int
) -> None:
    admin = (await join(office.front, "admin")).browser
    path, version = f"/v1/users/{office.ids['user_id']}", {"If-Match": '"1"'}
    answer = await admin.ask("PATCH", path, json={"name": "Ana"}, headers=headers | version)
    assert answer.status_code == status
    assert (await admin.ask("GET", "/v1/owners/me", headers=headers)).status_code == 200


async def test_another_sites_page_signs_nobody_in_and_a_program_may(office: Office) -> None:
    ana = await join(office.front, "viewer")
    browser = Browser(office.front)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        refused = await browser.sign_in(ana.user.email, headers=headers)
        assert refused.status_code == 403
        assert "Set-Cookie" not in refused.headers
    assert (await browser.sign_in(ana.user.email, headers={})).status_code == 201


@pytest.mark.parametrize(
    ("base_url", "headers", "cookie"),
    [
        ("http://localhost:8000", {"Origin": "http://localhost:8000"}, "recado"),
        ("http://127.0.0.1:8000", {"Origin": "http://127.0.0.1:8000"}, "recado"),
        ("http://[::1]:8000", {"Origin": "http://[::1]:8000"}, "recado"),
        ("https://localhost", {"Origin": "https://localhost"}, COOKIE),
        # As nginx asks when it is told nothing of Host.
        ("http://127.0.0.1:8000", {"X-Forwarded-Proto": "https", "Sec-Fetch-Site": "same-origin"}, COOKIE),
        ("http://127.0.0.1:8000", {"Forwarded": "proto=https", "Sec-Fetch-Site": "same-origin"}, COOKIE),
        ("http://recado.example", {"Sec-Fetch-Site": "same-origin"}, COOKIE),
        ("http://localhost.example", {"Sec-Fetch-Site": "same-origin"}, COOKIE),
    ],
)
async def test_the_cookie_is_for_https_but_on_ones_own_machine(
    office: Office, tmp_path: Path, base_url: str, headers: dict[str, str], cookie: str
) -> None:
    ana = await join(office.front, "viewer")
    async with open_front(office.front.database_url, tmp_path, found=False, public_url=None) as front:
        browser = Browser(front, base_url=base_url)
        answer = await browser.sign_in(ana.user.email, headers=headers)
        signed_in = browser.after(answer)
        assert signed_in.cookie == cookie
        assert ("Secure" in answer.headers["Set-Cookie"]) is (cookie == COOKIE)
        assert (await signed_in.ask("DELETE", "/v1/sessions/current", headers=headers)).status_code == 204


async def test_a_cookie_under_the_name_of_plain_http_opens_no_site_of_https(office: Office) -> None:
    ana = await join(office.front, "viewer")
    # A neighbouring host can set `recado` for us, but not `__Host-recado`.
    assert (await replace(ana.browser, cookie="recado").ask("GET", "/v1/users/me")).status_code == 401


async def test_without_https_nobody_signs_in_from_another_machine(office: Office, tmp_path: Path) -> None:
    ana = await join(office.front, "viewer")
    async with open_front(office.front.database_url, tmp_path, found=False, public_url=None) as front:
        browser = Browser(front, base_url="http://192.0.2.5:8000")
        answer = await browser.sign_in(ana.user.email, headers={"Origin": "http://192.0.2.5:8000"})
        assert answer.status_code == 403


async def test_what_a_user_does_is_theirs_in_the_audit_and_their_idempotency_keys_are_their_own(office: Office) -> None:
    ana, rui = await join(office.front, "operator"), await join(office.front, "operator")
    path = f"/v1/conversations/{office.conversation_id}/messages"
    for browser in (ana.browser, ana.browser, rui.browser):
        headers = {"Sec-Fetch-Site": "same-origin", "Idempotency-Key": "1"}
        assert (await browser.ask("POST", path, json={"body": "Pronto"}, headers=headers)).status_code == 201
    rows = office.front.rows("SELECT caller_kind, caller_id FROM audit WHERE action = 'send' ORDER BY id")
    assert [(row["caller_kind"], row["caller_id"]) for row in rows] == [("user", ana.user.id), ("user", rui.user.id)]


async def test_an_owners_user_reaches_no_other_owner_whatever_they_name(office: Office) -> None:
    admin = (await join(office.front, "admin")).browser
    other = (await (await office.stranger()).get("/v1/owners/me"))["id"]
    for caller in (admin, office.admin):
        assert isinstance(caller, Browser | Program)
        own = await caller.ask("GET", "/v1/owners/me", headers={"Recado-Owner": str(office.front.owner_id)})
        assert own.status_code == 200
        for named in (other, office.ids["key_id"], "x", ""):
            answer = await caller.ask("GET", "/v1/owners/me", headers={"Recado-Owner": named})
            assert answer.status_code == 403
