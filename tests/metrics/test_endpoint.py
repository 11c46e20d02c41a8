"""The page on its own port, and the worker's page beside it."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recado.errors import RecadoError
from recado.metrics import endpoint
from recado.metrics.endpoint import Beside, answer_beside, is_beside, serving, together


def ask(address: tuple[str, int], method: str = "GET", path: str = "/metrics") -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()
    finally:
        connection.close()


def test_the_page_is_at_metrics_and_nothing_else_is_anywhere() -> None:
    with serving(lambda: b"recado_x 1\n", "127.0.0.1", 0) as address:
        assert ask(address) == (200, "text/plain; version=0.0.4; charset=utf-8", b"recado_x 1\n")
        assert ask(address, "HEAD") == (200, "text/plain; version=0.0.4; charset=utf-8", b"")
        assert ask(address, path="/metrics?x=1")[0] == 200
        for method, path, status in (("GET", "/", 404), ("GET", "/metrics/x", 404), ("POST", "/metrics", 501)):
            assert ask(address, method, path)[0] == status


def test_a_port_that_is_taken_is_said_before_anything_is_served() -> None:
    with serving(bytes, "127.0.0.1", 0) as (_, port), pytest.raises(RecadoError, match=f"127.0.0.1:{port}"):  # noqa: SIM117
        with serving(bytes, "127.0.0.1", port):
            pass


def test_who_connects_and_says_nothing_holds_up_nobody() -> None:
    with serving(lambda: b"recado_x 1\n", "127.0.0.1", 0) as address:
        silent = [socket.create_connection(address) for _ in range(endpoint.AT_ONCE - 1)]
        try:
            assert ask(address)[0] == 200
        finally:
            for one in silent:
                one.close()


def test_a_page_that_can_not_be_made_ends_nothing_but_its_request() -> None:
    pages = iter([None, b"recado_x 1\n"])

    def page() -> bytes:
        made = next(pages)
        if made is None:
            raise ValueError("said by a contact")
        return made

    with serving(page, "127.0.0.1", 0) as address:
        with pytest.raises(http.client.HTTPException):
            ask(address)
        assert ask(address)[0] == 200


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Beside, list[bytes], threading.Event]]:
    """A process's view of the worker beside it, whose pages are those of the list, once it is let."""
    beside, pages, let = Beside(), [b"recado_x 1\n"], threading.Event()
    let.set()
    theirs = beside.replace()
    monkeypatch.setitem(os.environ, endpoint.ASKED, str(os.dup(theirs.fileno())))

    def page() -> bytes:
        made = pages[-1]
        let.wait()
        return made

    assert is_beside()
    answer_beside(page)
    assert not is_beside(), "what the worker starts is not asked in its place"
    theirs.close()
    yield beside, pages, let
    let.set()
    beside.close()


def test_a_worker_beside_gives_its_page_whenever_it_is_asked(
    worker: tuple[Beside, list[bytes], threading.Event],
) -> None:
    beside, pages, _ = worker
    assert beside.page() == b"recado_x 1\n"
    pages.append(b"recado_x 2\n" * 50_000)
    assert beside.page() == pages[-1]


def test_a_worker_that_hangs_is_not_waited_for_and_its_late_answer_is_not_taken_for_the_next(
    worker: tuple[Beside, list[bytes], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "BESIDE_S", 0.05)
    beside, pages, let = worker
    let.clear()
    assert beside.page() == b""  # the worker has begun to make the old one
    assert beside.page() == b""
    monkeypatch.setattr(endpoint, "BESIDE_S", 10.0)
    pages.append(b"recado_x 2\n")
    let.set()
    assert beside.page() == b"recado_x 2\n"


def test_where_no_worker_is_beside_there_is_no_page() -> None:
    assert Beside().page() == b""
    gone = Beside()
    gone.replace().close()
    assert gone.page() == b""
    gone.close()


def test_the_pages_of_two_processes_are_one_with_each_line_its_process() -> None:
    api = b'# HELP recado_x X.\n# TYPE recado_x gauge\nrecado_x{a="1"} 1\n# HELP y Y.\n# TYPE y counter\ny_total 2\n'
    worker = b'# HELP recado_x X.\n# TYPE recado_x gauge\nrecado_x{a="1"} 3\n# HELP z Z.\n# TYPE z gauge\nz 4\n'
    page = together({"api": api, "worker": worker}).decode()
    assert page.count("# TYPE recado_x gauge") == 1
    found = {
        (sample.name, sample.labels["process"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert found == {
        ("recado_x", "api"): 1.0,
        ("recado_x", "worker"): 3.0,
        ("y_total", "api"): 2.0,
        ("z", "worker"): 4.0,
    }


def test_one_process_alone_is_shown_while_the_other_is_away() -> None:
    assert b'recado_x{process="api"} 1' in together({"api": b"# TYPE recado_x gauge\nrecado_x 1\n", "worker": b""})
