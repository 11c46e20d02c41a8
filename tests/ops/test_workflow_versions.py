"""Releases: what a version has begun is finished, new work goes to the promoted one, nothing stands still unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from dbos._sys_db_postgres import PostgresSystemDatabase

from recado.db import pool
from recado.db.pool import Connection, connect
from recado.errors import Conflict, NotFound
from recado.ids import new_id
from recado.ops import release
from recado.ops.checks import installation
from recado.ops.executors import Executor
from tests.clock import TestClock

SOON = timedelta(seconds=60)


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Connection]:
    async with await connect(database_url, "recado_platform") as conn:
        yield conn


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Connection]:
    async with await connect(database_url, "recado_engine") as conn:
        yield conn


@pytest.fixture
async def start(database_url: str) -> AsyncIterator[Any]:
    """Start a worker of a version; answers its executor."""
    async with AsyncExitStack() as stack:

        async def started(version: str) -> Executor:
            executor = Executor(lambda: connect(database_url, "recado_platform"), "worker", ["turns"], version=version)
            await executor.register()
            stack.push_async_callback(executor.leave, idle=True)
            return executor

        yield started


@pytest.fixture
def work(database_url: str) -> Callable[..., None]:
    """A workflow that stands so."""

    def made(workflow_id: str, status: str = "ENQUEUED", version: str | None = None, *, ago_s: int = 0) -> None:
        with psycopg.connect(database_url) as conn:
            conn.execute("SET ROLE recado_engine")
            conn.execute(
                "SELECT dbos.enqueue_workflow('work', 'turns', ARRAY[to_json(1)], workflow_id => %s, "
                "queue_partition_key => %s)",
                [workflow_id, f"{new_id()}:{new_id()}"],
            )
            conn.execute(
                "UPDATE dbos.workflow_status SET status = %s, application_version = %s, created_at = created_at - %s "
                "WHERE workflow_uuid = %s",
                [status, version, ago_s * 1000, workflow_id],
            )
            if version is not None:
                conn.execute(
                    "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output) "
                    "VALUES (%s, 1, 'think', '1')",
                    [workflow_id],
                )

    return made


async def test_promoting_a_version_drains_all_others_and_going_back_is_the_same(
    platform: Connection, engine: Connection, start: Any
) -> None:
    old, new = await start("1"), await start("2")
    assert (old.takes_new, new.takes_new) == (True, True), "a canary takes its share"
    for version in ("2", "1"):
        await release.promote(platform, engine, version)
        assert await old.beat()
        assert await new.beat()
        assert (old.takes_new, new.takes_new) == (version == "1", version == "2")
        found = {one.version: one.draining for one in (await release.status(platform)).versions}
        assert found == {"1": version != "1", "2": version != "2"}


async def test_a_version_is_promoted_only_where_somebody_would_answer(
    platform: Connection, engine: Connection, start: Any
) -> None:
    with pytest.raises(NotFound, match="never a worker of it; there is none"):
        await release.promote(platform, engine, "2")
    await (await start("2")).leave(idle=True)
    await start("1")
    with pytest.raises(Conflict, match="start one first"):
        await release.promote(platform, engine, "2")
    assert [one.draining for one in (await release.status(platform)).versions] == [False, False]


async def test_workers_of_the_first_release_heed_it_too(
    database_url: str, platform: Connection, engine: Connection, start: Any
) -> None:
    """They go by the newest version that the engine knows: after 1, 2, 1 theirs would stay waiting."""
    await start("1")
    await start("2")
    made: sa.Engine = pool.engine(database_url, size=1)
    try:
        sys_db = PostgresSystemDatabase(
            system_database_url=database_url,
            engine_kwargs={},
            engine=made,
            schema="dbos",
            serializer=None,  # type: ignore[arg-type]
            executor_id=None,
            app_name="recado",
            use_listen_notify=False,
        )
        for version in ("1", "2"):
            sys_db.create_application_version(version)
            await asyncio.sleep(0.01)
        assert sys_db._is_latest_version("2")
        await release.promote(platform, engine, "1")
        assert sys_db._is_latest_version("1")
        assert not sys_db._is_latest_version("2")
    finally:
        made.dispose()


async def test_a_drain_is_over_when_every_worker_has_heard_and_nothing_begun_is_left(
    database_url: str, platform: Connection, engine: Connection, start: Any, work: Any
) -> None:
    old, _ = await start("1"), await start("2")
    work("begun", version="1")
    work("in hand", "PENDING", "1")
    work("new")
    await release.promote(platform, engine, "2")
    clock, looks = TestClock(), []

    async def told(found: release.Status) -> None:
        looks.append(sum(one.begun for one in found.versions if one.draining))

    waiting = asyncio.create_task(release.drained(platform, clock, within=SOON, told=told))

    async def look() -> None:
        """Let it look once more; it sleeps, or has ended, when this returns."""
        wakes = await clock.asleep()
        clock.advance(seconds=(wakes - clock.now()).total_seconds())
        sleeps = asyncio.create_task(clock.asleep())
        await asyncio.wait({waiting, sleeps}, return_when=asyncio.FIRST_COMPLETED)
        sleeps.cancel()

    await look()
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE dbos.workflow_status SET status = 'SUCCESS' WHERE application_version = '1'")
    for _ in range(3):
        await look()
    assert (looks[0], looks[-1]) == (2, 0)
    assert not waiting.done(), "its worker has not heard: it may take new work yet"
    await old.beat()
    await look()
    await look()
    assert await waiting


async def test_a_drain_that_takes_too_long_says_so(
    platform: Connection, engine: Connection, start: Any, work: Any
) -> None:
    await (await start("1")).beat()
    await start("2")
    work("begun", version="1")
    await release.promote(platform, engine, "2")
    clock = TestClock()

    async def told(_: release.Status) -> None: ...

    waiting = asyncio.create_task(release.drained(platform, clock, within=SOON, told=told))
    await clock.asleep()
    clock.advance(seconds=SOON.total_seconds() - 1)
    await clock.asleep()
    assert not waiting.done()
    clock.advance(seconds=1)
    assert not await waiting


async def test_what_stands_still_is_named_with_what_to_do(
    platform: Connection, engine: Connection, start: Any, work: Any
) -> None:
    one = await start("1")
    work("stranded", version="7")
    work("new", ago_s=100)
    (said,) = (await release.status(platform)).problems
    assert said[0].startswith("1 begun by version 7 of the workflows, which has no live worker")
    assert "recado release adopt 7" in said[1]
    other = await start("2")
    await release.promote(platform, engine, "2")
    await other.leave(idle=True)
    await one.beat()
    problems = [what for what, _ in (await release.status(platform)).problems]
    assert "1 that no live worker takes: every version that has one drains" in problems
    found = [finding for finding in await installation.releases(platform) if finding.state == "fail"]
    assert len(found) == 2


async def test_what_a_version_without_workers_has_begun_is_begun_again_by_others(
    database_url: str, platform: Connection, engine: Connection, start: Any, work: Any
) -> None:
    work("stranded", version="7")
    work("other", version="8")
    assert await release.adopt(platform, engine, "7") == 1
    with psycopg.connect(database_url) as conn:
        rows = "SELECT workflow_uuid, application_version FROM dbos.workflow_status ORDER BY 1"
        assert conn.execute(rows).fetchall() == [("other", "8"), ("stranded", None)]
        assert conn.execute("SELECT workflow_uuid FROM dbos.operation_outputs").fetchall() == [("other",)]
    with pytest.raises(NotFound):
        await release.adopt(platform, engine, "7")
    work("in hand", "PENDING", "8")
    with pytest.raises(Conflict, match="not recovered yet"):
        await release.adopt(platform, engine, "8")
    await start("8")
    with pytest.raises(Conflict, match="live workers"):
        await release.adopt(platform, engine, "8")
