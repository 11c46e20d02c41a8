"""Gauges: what one worker says of the whole database, cheaply, and only as long as it is the one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from recado import metrics
from recado.db import functions
from recado.db.pool import PASSING, Connection, Pool, connect
from recado.metrics import families
from recado.ops import gauges
from recado.ops.executors import Executor
from tests.journey.front import Front, open_front
from tests.plans import rows_read

ALL = (*gauges._OF_ALL, *gauges._OF_PROCESS)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test has set is not there for the next."""
    yield
    gauges._forget(ALL)


@pytest.fixture
async def front(database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def platform(front: Front) -> AsyncIterator[Pool]:
    async with front.wiring.platform_pool() as pool:
        yield pool


def run(url: str, query: str, *parameters: Any) -> None:
    with psycopg.connect(url, options="-c search_path=recado") as conn:
        conn.execute(query, parameters)  # type: ignore[arg-type]


async def look(platform: Pool) -> None:
    async with platform.connection() as conn:
        await gauges.look(conn)


async def test_what_waits_is_told_with_how_long_the_oldest_has(front: Front, platform: Pool) -> None:
    for _ in range(3):
        await front.accept(await front.arrival())
    run(front.database_url, "UPDATE dbos.workflow_status SET created_at = created_at - 90000")
    await look(platform)
    assert metrics.QUEUE_DEPTH.value("turns") == 3
    assert 90 <= (metrics.QUEUE_OLDEST.value("turns") or 0) < 150
    assert (metrics.QUEUE_DEPTH.value("deliveries"), metrics.QUEUE_OLDEST.value("deliveries")) == (0, 0)


async def test_what_was_put_back_for_later_does_not_wait_until_then_and_from_then_on(
    front: Front, platform: Pool
) -> None:
    await front.accept(await front.arrival())
    due = "UPDATE dbos.workflow_status SET created_at = created_at - 900000, delay_until_epoch_ms = {}"
    now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    run(front.database_url, due.format(f"{now} + 60000"))
    await look(platform)
    assert (metrics.QUEUE_DEPTH.value("turns"), metrics.QUEUE_OLDEST.value("turns")) == (0, 0)
    run(front.database_url, due.format(f"{now} - 30000"))
    await look(platform)
    assert 30 <= (metrics.QUEUE_OLDEST.value("turns") or 0) < 90


async def test_what_is_held_is_told_by_what_for(front: Front, platform: Pool) -> None:
    for _ in range(2):
        await front.accept(await front.arrival())
    run(front.database_url, "UPDATE messages SET status = 'held', held_for = 'look'")
    await look(platform)
    assert metrics.HELD.value("look") == 2
    assert metrics.HELD.value("people") is None


async def test_the_database_says_how_it_does(platform: Pool) -> None:
    await look(platform)
    assert metrics.DATABASE_CONNECTIONS.value("used") >= 1  # type: ignore[operator]
    assert metrics.DATABASE_CONNECTIONS.value("limit") >= 100  # type: ignore[operator]
    assert metrics.XID_AGE.value() >= 0  # type: ignore[operator]
    assert set(metrics.DEAD_ROWS._values) == {(table,) for table in metrics.DEAD_ROWS.spec.labels["table"].known}


async def test_a_transaction_that_writes_and_does_not_end_is_seen(front: Front, platform: Pool) -> None:
    with psycopg.connect(front.database_url) as conn:
        conn.execute("SELECT pg_current_xact_id()")
        for _ in range(5):
            run(front.database_url, "SELECT pg_current_xact_id()")
        await look(platform)
        assert metrics.XMIN_AGE.value() >= 5  # type: ignore[operator]


async def test_however_much_there_is_a_look_reads_a_bounded_part_of_it(front: Front, platform: Pool) -> None:
    await front.accept(await front.arrival())
    run(
        front.database_url,
        """
        INSERT INTO dbos.workflow_status (workflow_uuid, status, name, queue_name, queue_partition_key, created_at,
                                          updated_at, priority)
        SELECT 'w' || n, CASE mod(n, 2) WHEN 0 THEN 'SUCCESS' ELSE 'ENQUEUED' END, 'x', 'turns', 'lane' || n, n, n, 0
        FROM generate_series(1, 4000) n
        """,
    )
    run(
        front.database_url,
        """
        INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, held_for,
                              correlation_id, received_at)
        SELECT m.owner_id, made.id, m.conversation_id, m.account_id, 'inbound', 'contact', '',
               CASE mod(n, 2) WHEN 0 THEN 'answered' ELSE 'held' END,
               CASE mod(n, 2) WHEN 1 THEN 'people' END, made.id, now()
        FROM messages m, generate_series(1, 4000) n,
             LATERAL (SELECT (uuid_floor(now() - make_interval(secs => n))) AS id) made
        """,
    )
    run(front.database_url, "ANALYZE messages")
    run(front.database_url, "ANALYZE dbos.workflow_status")
    most = 300
    text = (Path(functions.__path__[0]) / "work_waits.sql").read_text()
    waits = text.partition("RETURN QUERY")[2].partition(";")[0].replace("unnest(queues)", "unnest(%s::text[])")
    waits = waits.replace("now_ms", "(extract(epoch FROM clock_timestamp()) * 1000)").replace(
        "LIMIT most", f"LIMIT {most}"
    )
    async with await psycopg.AsyncConnection.connect(
        front.database_url, row_factory=dict_row, options="-c search_path=recado"
    ) as conn:
        for query, table, parameters in (
            (waits, "workflow_status", [["turns", "deliveries"]]),
            (gauges._HELD, "messages", []),
        ):
            bounded = query.replace(str(gauges.MOST), str(most))
            explained = await conn.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {bounded}", parameters)
            row = await explained.fetchone()
            assert row is not None
            [plan] = row["QUERY PLAN"]
            assert rows_read(plan["Plan"], table) <= 2 * most + 10, query


@pytest.fixture
async def executors(database_url: str) -> AsyncIterator[list[Executor]]:
    async def connection() -> Connection:
        return await connect(database_url, "recado_platform")

    made = [Executor(connection, "worker", ["turns", "deliveries"]) for _ in range(2)]
    for one in made:
        await one.register()
    yield made
    for one in made:
        await one.leave(idle=True)


async def test_one_worker_looks_at_all_and_when_it_is_gone_another_does(executors: list[Executor]) -> None:
    first, second = executors
    assert [await first.looks_for_all(), await second.looks_for_all(), await first.looks_for_all()] == [
        True,
        False,
        True,
    ]
    await first.leave(idle=True)
    assert not await first.looks_for_all()
    async with asyncio.timeout(10):
        while not await second.looks_for_all():
            await asyncio.sleep(0.02)


async def test_a_worker_whose_session_the_server_has_ended_is_no_longer_the_one(
    executors: list[Executor], database_url: str
) -> None:
    first, second = executors
    assert await first.looks_for_all()
    assert first._conn is not None
    run(database_url, "SELECT pg_terminate_backend(%s, 2000)", first._conn.info.backend_pid)
    assert await second.looks_for_all()
    with pytest.raises(PASSING):
        await first.beat()
    assert not await first.looks_for_all()
    assert await first.beat()
    assert not await first.looks_for_all()


async def test_what_a_worker_said_goes_when_it_is_no_longer_the_one(front: Front, platform: Pool) -> None:
    answers = iter([True, False])
    looked = asyncio.Event()

    async def chosen() -> bool:
        mine = next(answers, False)
        if not mine:
            looked.set()
        return mine

    watching = asyncio.create_task(
        gauges.watch(around=front.wiring.pool, platform=platform, chosen=chosen, every_s=0.05)
    )
    async with asyncio.timeout(30):
        while not metrics.GAUGES_UP.value():
            await asyncio.sleep(0.01)
        assert metrics.QUEUE_DEPTH.value("turns") == 0
        await looked.wait()
        while metrics.GAUGES_UP.value():
            await asyncio.sleep(0.01)
    assert b"recado_queue_depth{" not in families.page([metrics.QUEUE_DEPTH])
    watching.cancel()
    await asyncio.wait([watching])
    assert b"\nrecado_clock_skew_seconds " not in families.page([metrics.CLOCK_SKEW])


async def test_while_the_database_is_away_nothing_is_said_of_it(front: Front, platform: Pool) -> None:
    async def chosen() -> bool:
        return True

    await look(platform)
    assert metrics.GAUGES_UP.value() == 1

    async def gone(_: Connection) -> None:
        raise psycopg.OperationalError("away")

    await gauges._once(gauges._OF_ALL, lambda: gauges._on(platform, gone))
    assert metrics.GAUGES_UP.value() is None


async def test_nobody_can_answer_until_a_live_worker_serves_turns_and_deliveries(
    front: Front, executors: list[Executor], database_url: str
) -> None:
    async with front.wiring.pool.connection() as conn:
        await gauges.look_around(conn)
        assert metrics.CAN_ANSWER.value() == 1
        assert (metrics.LIVE_WORKERS.value("turns"), metrics.LIVE_WORKERS.value("media")) == (2, 0)
        for one in executors:
            await one._drop()
        async with asyncio.timeout(10):
            while metrics.CAN_ANSWER.value():
                await gauges.look_around(conn)
        assert metrics.LIVE_WORKERS.value("turns") == 0


async def test_the_clocks_difference_is_told_with_its_sign(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    there = gauges.time.time
    monkeypatch.setattr(gauges.time, "time", lambda: there() + 30)
    async with front.wiring.pool.connection() as conn:
        await gauges.look_around(conn)
    assert 29 < metrics.CLOCK_SKEW.value() < 31  # type: ignore[operator]
