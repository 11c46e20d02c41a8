"""The gate of known vulnerabilities can fail, and what was not looked at is never taken for harmless."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from supply.advisories import CANARY, Accepted, check, judge
from supply.finding import Finding
from supply.locks import ROOT, Pin

TOOL = ROOT / ".audit" / "bin" / "pip-audit"
TODAY = date(2026, 11, 28)
ONE, OTHER = Pin(name="padaria", version="1.0"), Pin(name="mercearia", version="2.5")
KNOWN = {"id": "GHSA-xxxx", "aliases": ["CVE-2026-0001"], "summary": "Bread is burnt.", "affected": []}


class Osv:
    """An advisory service of the test's own: what it knows, by package; what it was asked; whether it is well."""

    def __init__(self, known: dict[str, list[dict[str, Any]]]) -> None:
        self.known = known
        self.asked: list[tuple[str, str]] = []
        self.fails_on: str | None = None


@contextmanager
def serving(osv: Osv) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = query["package"]["name"]
            osv.asked.append((name, query["version"]))
            body = json.dumps({"vulns": osv.known[name]} if name in osv.known else {}).encode()
            self.send_response(500 if osv.fails_on == name else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def osv() -> Osv:
    if not TOOL.exists():
        assert "CI" not in os.environ, "in CI `make audit` has made .audit before the tests"
        pytest.skip("pip-audit is not here (`make audit` installs it): the gate was not tried with it")
    return Osv({CANARY.name: [{**KNOWN, "id": "GHSA-of-the-canary"}]})


def found(osv: Osv, *accepted: Accepted) -> Finding:
    with serving(osv) as url:
        return check([ONE, OTHER], accepted, tool=TOOL, url=url, today=TODAY)


def test_when_nothing_is_known_of_anything_that_was_asked_all_is_well(osv: Osv) -> None:
    finding = found(osv)
    assert (finding.outcome, finding.said, finding.lines) == ("ok", "2 packages", ())
    assert {(pin.name, pin.version) for pin in (CANARY, ONE, OTHER)} == set(osv.asked)


def test_a_known_vulnerability_fails_and_is_named_with_the_package(osv: Osv) -> None:
    osv.known[OTHER.name] = [KNOWN]
    finding = found(osv)
    assert finding.outcome == "failed"
    assert finding.lines == ("mercearia 2.5: CVE-2026-0001, GHSA-xxxx",)


def test_a_service_that_fails_on_one_of_them_is_no_all_clear(osv: Osv) -> None:
    osv.fails_on = OTHER.name
    assert found(osv).outcome == "failed"


def test_a_service_that_knows_nothing_at_all_has_not_looked(osv: Osv) -> None:
    osv.known.clear()
    finding = found(osv)
    assert finding.outcome == "unchecked"
    assert "which is known to be vulnerable" in finding.said
    assert osv.asked == [(CANARY.name, CANARY.version)]


def test_a_service_that_is_not_there_has_not_looked(osv: Osv) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    finding = check([ONE], (), tool=TOOL, url=f"http://127.0.0.1:{port}/v1/query", today=TODAY)
    assert finding.outcome == "unchecked"
    assert "no advisory service" in finding.said


def test_without_the_tool_nothing_was_looked_at() -> None:
    finding = check([ONE], (), tool=ROOT / "nowhere" / "pip-audit", url=None, today=TODAY)
    assert finding.outcome == "unchecked"


class TestJudging:
    """What answers come to, without asking."""

    accepted = Accepted(id="CVE-2026-0001", package="padaria", why="it bakes no bread", until=date(2027, 1, 1))

    def test_a_package_without_an_answer_fails(self) -> None:
        finding = judge([ONE, OTHER], {ONE: []}, (), today=TODAY)
        assert (finding.outcome, finding.lines) == ("failed", ("mercearia 2.5: was not looked at",))

    def test_another_version_is_no_answer(self) -> None:
        assert judge([ONE], {Pin(name="padaria", version="1.1"): []}, (), today=TODAY).outcome == "failed"

    def test_what_was_accepted_passes_by_any_of_its_ids_until_its_day(self) -> None:
        answers = {ONE: [["GHSA-xxxx", "CVE-2026-0001"]]}
        assert judge([ONE], answers, [self.accepted], today=TODAY).outcome == "ok"
        assert judge([ONE], answers, [self.accepted], today=date(2027, 1, 1)).outcome == "failed"

    def test_what_was_accepted_of_one_package_passes_for_no_other(self) -> None:
        answers = {ONE: [["CVE-2026-0001"]], OTHER: [["CVE-2026-0001"]]}
        assert judge([ONE, OTHER], answers, [self.accepted], today=TODAY).lines == ("mercearia 2.5: CVE-2026-0001",)

    def test_what_is_accepted_and_no_longer_found_has_to_go(self) -> None:
        assert judge([ONE], {ONE: []}, [self.accepted], today=TODAY).outcome == "failed"
