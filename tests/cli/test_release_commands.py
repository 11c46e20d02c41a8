"""`recado release`: what is seen of versions, and what is done about them, at the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from recado.db.pool import connect
from recado.ops.executors import Executor
from tests.cli.conftest import Terminal


@contextmanager
def workers(database_url: str, *versions: str) -> Iterator[None]:
    """Live workers of these versions, that heed what they are told."""

    async def work(ended: asyncio.Event) -> None:
        executors = [
            Executor(lambda: connect(database_url, "recado_platform"), "worker", ["turns"], version=version)
            for version in versions
        ]
        for executor in executors:
            await executor.register()
        there.set_result(None)
        while not ended.is_set():
            for executor in executors:
                await executor.beat()
            await asyncio.sleep(0.02)
        for executor in executors:
            await executor.leave(idle=True)

    there: Future[None] = Future()
    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(loop.run_until_complete, work(ended))
        try:
            there.result(30)
            yield
        finally:
            loop.call_soon_threadsafe(ended.set)
            running.result(30)
    loop.close()


def test_a_release_is_promoted_waited_for_and_shown(recado: Terminal, database_url: str) -> None:
    with workers(database_url, "1", "2"):
        assert {one["version"] for one in recado("release", "status", "--json").json["versions"]} == {"1", "2"}
        promoted = recado("release", "promote", "2", "--wait", "--timeout", "60", "--json")
        assert promoted.code == 0
        assert promoted.json["drained"] is True
        shown = recado("release", "status")
        assert shown.code == 0
        first, second = shown.out.splitlines()[1:3]
        assert first.split()[:2] == ["1", "drains"]
        assert second.split()[:4] == ["2", "takes", "new", "work"]
        assert recado("release", "promote", "9").complaint.startswith("recado: version 9: there was never a worker")
    with psycopg.connect(database_url) as conn:
        audited = conn.execute("SELECT action, thing, data->>'version' FROM recado.audit").fetchall()
    assert audited == [("promote", "release", "2")]


def test_what_stands_still_ends_with_1_and_is_adopted(recado: Terminal, database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("SET ROLE recado_engine")
        conn.execute(
            "SELECT dbos.enqueue_workflow('work', 'turns', ARRAY[to_json(1)], workflow_id => 'w', "
            "queue_partition_key => 'lane')"
        )
        conn.execute("UPDATE dbos.workflow_status SET application_version = '7'")
    shown = recado("release", "status")
    assert shown.code == 1
    assert "1 begun by version 7 of the workflows, which has no live worker: start" in shown.out
    assert recado("release", "adopt", "7").out == "1 begun again\n"
    assert recado("release", "status").code == 0
    assert recado("release", "adopt", "7").code == 1


@pytest.mark.parametrize("arguments", [["promote"], ["promote", "1", "--timeout", "0"], ["adopt"]])
def test_wrong_use_ends_with_2(recado: Terminal, arguments: list[str]) -> None:
    assert recado("release", *arguments).code == 2
