"""`recado templates`: fetched from Twilio over HTTP, listed, and chosen for late replies."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.cli.conftest import Terminal
from tests.cli.rows import Rows

SID = "HX" + "5" * 32


class ContentHost(ThreadingHTTPServer):
    """A Content API with these contents; `refuses` makes it answer an error."""

    contents: list[dict[str, Any]]
    refuses: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: ContentHost

    def do_GET(self) -> None:
        refused = self.server.refuses or not self.path.startswith("/v1/ContentAndApprovals")
        content = {"code": 20003} if refused else {"contents": self.server.contents, "meta": {"next_page_url": None}}
        body = json.dumps(content).encode()
        self.send_response(401 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def host() -> Iterator[ContentHost]:
    with ContentHost(("127.0.0.1", 0), _Answers) as server:
        server.contents = [
            {
                "sid": SID,
                "friendly_name": "late",
                "language": "pt_BR",
                "types": {"twilio/text": {"body": "Olá {{1}}: {{2}}"}},
                "approval_requests": {"status": "approved", "category": "UTILITY"},
            }
        ]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_templates_are_fetched_listed_and_one_is_chosen_for_late_replies(
    recado: Terminal, rows: Rows, host: ContentHost
) -> None:
    def sync() -> Any:
        return recado("templates", "sync", "--owner", rows.owner, "--json", RECADO_TWILIO_CONTENT_URL=host.url).json

    [synced] = sync()
    assert (synced["known"], synced["gone"]) == (1, 0)
    [listed] = recado("templates", "list", "--owner", rows.owner, "--json").json
    assert (listed["content_sid"], listed["status"], listed["variables"]) == (SID, "approved", ["1", "2"])
    assert SID in recado("templates", "list").out
    choosing = ("templates", "fallback", "--owner", rows.owner, "--template", SID)
    chosen = recado(*choosing, "--variable", "1={contact_name}", "--variable", "2={text}", "--json").json
    assert chosen["variables"] == {"1": "{contact_name}", "2": "{text}"}
    stored = rows.value("SELECT fallback_template->>'content_sid' FROM assistants WHERE owner_id = %s", rows.owner)
    assert stored == SID
    assert recado("templates", "fallback", "--owner", rows.owner, "--template", "").code == 0
    assert rows.value("SELECT fallback_template FROM assistants WHERE owner_id = %s", rows.owner) is None
    host.contents = []
    [again] = sync()
    assert (again["known"], again["gone"]) == (0, 1)
    assert recado("templates", "list", "--json").json == []


def test_what_is_wrong_is_said_in_one_line(recado: Terminal, rows: Rows, host: ContentHost) -> None:
    choosing = ("templates", "fallback", "--owner", rows.owner, "--template", SID)
    for arguments, why in (
        (("--variable", "1"), "NAME=TEXT"),
        (("--variable", "1={text}", "--variable", "1=x"), "twice"),
        (("--variable", "1={text}"), "recado templates sync"),
    ):
        ran = recado(*choosing, *arguments)
        assert ran.code == 2
        assert why in ran.complaint
    host.refuses = True
    ran = recado("templates", "sync", "--owner", rows.owner, RECADO_TWILIO_CONTENT_URL=host.url)
    assert ran.code == 1
    assert "20003" in ran.complaint
    unknown = recado("templates", "sync", "--owner", rows.owner, "--account", "AC" + "9" * 32)
    assert unknown.code == 1
    assert "no Twilio account" in unknown.complaint


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"friendly_name": "a\0b"}, "friendly_name"),
        ({"language": "pt\ud83d"}, "language"),
        ({"types": {"twilio/text": {"body": "Ol\ud83d {{1}}"}}}, "types"),
        ({"types": {"twilio/text\0": {"body": "Oi"}}}, "types"),
        ({"approval_requests": {"status": "approved", "category": "\0"}}, "approval_requests"),
    ],
)
def test_a_template_with_characters_that_are_no_text_is_named_with_its_field_and_costs_nobody_anything(
    recado: Terminal, rows: Rows, host: ContentHost, changes: dict[str, Any], field: str
) -> None:
    good, bad = host.contents[0], "HX" + "6" * 32
    host.contents = [{**good, "sid": bad}, good]
    assert sync(recado, rows, host)[0]["known"] == 2
    host.contents = [{**good, "sid": bad, **changes}, {**good, "friendly_name": "newer"}]
    [synced] = sync(recado, rows, host)
    assert (synced["known"], synced["gone"]) == (2, 0)
    [why] = synced["mended"]
    assert why == f"{bad}: {field}"
    assert rows.value("SELECT name FROM templates WHERE content_sid = %s", SID) == "newer"


def sync(recado: Terminal, rows: Rows, host: ContentHost) -> list[dict[str, Any]]:
    ran = recado("templates", "sync", "--owner", rows.owner, "--json", RECADO_TWILIO_CONTENT_URL=host.url)
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found
