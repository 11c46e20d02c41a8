"""Executors: a dead one's work is taken over once, and a living one is never declared dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from recado import __version__
from recado.db.pool import PASSING, Connection, connect, conninfo
from recado.ops.executors import AFTER_RESTART_S, Executor, keep_alive

#: The server's start as this database's tests are told: `pg_postmaster_start_time` is looked up here first.
STARTED = """
CREATE SCHEMA fake;
CREATE TABLE fake.started (at timestamptz NOT NULL);
INSERT INTO fake.started VALUES (now() - interval '1 hour');
CREATE FUNCTION fake.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT at FROM fake.started';
GRANT USAGE ON SCHEMA fake TO recado_platform;
GRANT SELECT ON fake.started TO recado_platform;
"""

Make = Callable[[], Awaitable[Executor]]


class Recovered(list[str]):
    """The executors whose work was given back, in order."""

    async def __call__(self, executor_id: str) -> int:
        self.append(executor_id)
        await asyncio.sleep(0.05)
        return 1


def ids(url: str) -> set[str]:
    with psycopg.connect(url) as conn:
        return {row[0] for row in conn.execute("SELECT id FROM recado.executors")}


@pytest.fixture
async def make(database_url: str) -> AsyncIterator[Make]:
    with psycopg.connect(database_url) as conn:
        conn.execute(STARTED)
    made: list[Executor] = []

    async def connection() -> Connection:
        info = make_conninfo(
            conninfo(database_url, "recado_platform"),
            options="-c role=recado_platform -c search_path=fake,recado,pg_catalog",
        )
        return await psycopg.AsyncConnection.connect(info, autocommit=True, row_factory=dict_row)

    async def register() -> Executor:
        executor = Executor(connection, "worker", ["turns"])
        await executor.register()
        made.append(executor)
        return executor

    yield register
    for executor in made:
        await executor.leave(idle=True)


async def cut(executor: Executor, url: str) -> None:
    """The server ends the executor's connection, as when its machine is gone."""
    assert executor._conn is not None
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(%s, 2000)", [executor._conn.info.backend_pid])


async def test_the_work_of_an_executor_that_died_is_given_back_and_its_row_is_gone(
    make: Make, database_url: str
) -> None:
    dead, living = await make(), await make()
    await cut(dead, database_url)
    recovered = Recovered()
    assert await living.recover_dead(recovered) == 1
    assert recovered == [dead.id]
    assert ids(database_url) == {living.id}
    assert await living.recover_dead(recovered) == 0


async def test_a_living_executor_is_never_declared_dead(make: Make, database_url: str) -> None:
    executors = [await make() for _ in range(3)]
    recovered = Recovered()
    for _ in range(5):
        assert await asyncio.gather(*(executor.recover_dead(recovered) for executor in executors)) == [0, 0, 0]
        assert await asyncio.gather(*(executor.beat() for executor in executors)) == [True, True, True]
    assert recovered == []
    assert len(ids(database_url)) == 3


async def test_of_two_that_look_at_once_only_one_takes_over(make: Make, database_url: str) -> None:
    dead, first, second = await make(), await make(), await make()
    await cut(dead, database_url)
    recovered = Recovered()
    assert sum(await asyncio.gather(first.recover_dead(recovered), second.recover_dead(recovered))) == 1
    assert recovered == [dead.id]


async def test_an_executor_that_another_took_over_between_two_looks_is_not_taken_over_again(
    make: Make, database_url: str
) -> None:
    dead = [await make(), await make()]
    first, second = await make(), await make()
    for executor in dead:
        await cut(executor, database_url)
    recovered = Recovered()

    async def and_meanwhile(executor_id: str) -> int:
        await second.recover_dead(recovered)  # it takes the one that `first` has on its list, but not in hand
        return await recovered(executor_id)

    await first.recover_dead(and_meanwhile)
    assert sorted(recovered) == sorted(executor.id for executor in dead)


async def test_after_a_restart_of_postgresql_the_living_have_time_to_take_their_locks_again(
    make: Make, database_url: str
) -> None:
    slow, quick = await make(), await make()
    await cut(slow, database_url)  # the restart cut everyone; `quick` has its lock again, `slow` not yet
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE fake.started SET at = now() - make_interval(secs => %s)", [AFTER_RESTART_S - 1])
    recovered = Recovered()
    assert await quick.recover_dead(recovered) == 0
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE fake.started SET at = now() - make_interval(secs => %s)", [AFTER_RESTART_S + 1])
    assert await quick.recover_dead(recovered) == 1
    assert recovered == [slow.id]


async def test_after_a_lost_connection_the_lock_is_taken_again(make: Make, database_url: str) -> None:
    executor, other = await make(), await make()
    await cut(executor, database_url)
    with pytest.raises(PASSING):
        await executor.beat()
    assert await executor.beat()
    recovered = Recovered()
    assert await other.recover_dead(recovered) == 0, "it holds its lock"


async def test_an_executor_whose_row_is_gone_must_stop(make: Make, database_url: str) -> None:
    executor = await make()
    with psycopg.connect(database_url) as conn:
        conn.execute("DELETE FROM recado.executors")
    assert not await executor.beat()


async def test_an_executor_that_was_taken_over_while_it_was_cut_off_must_stop(make: Make, database_url: str) -> None:
    executor, other = await make(), await make()
    await cut(executor, database_url)
    await other.recover_dead(Recovered())
    with pytest.raises(PASSING):
        await executor.beat()
    assert not await executor.beat()


async def test_while_its_work_is_being_given_back_it_can_not_come_back(make: Make, database_url: str) -> None:
    executor, other = await make(), await make()
    await cut(executor, database_url)
    came_back: list[bool] = []

    async def recover(_: str) -> int:
        with pytest.raises(PASSING):
            await executor.beat()
        came_back.append(await executor.beat())
        return 0

    await other.recover_dead(recover)
    assert came_back == [False]


async def test_a_recovery_that_fails_is_tried_again_by_whoever_comes_first(make: Make, database_url: str) -> None:
    dead, living, other = await make(), await make(), await make()
    await cut(dead, database_url)

    async def fails(_: str) -> int:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await living.recover_dead(fails)
    assert dead.id in ids(database_url)
    recovered = Recovered()
    assert await other.recover_dead(recovered) == 1
    assert recovered == [dead.id]


async def test_who_leaves_with_nothing_in_work_leaves_nothing_to_recover(make: Make, database_url: str) -> None:
    leaving, living = await make(), await make()
    await leaving.leave(idle=True)
    recovered = Recovered()
    assert await living.recover_dead(recovered) == 0
    assert ids(database_url) == {living.id}


async def test_who_leaves_with_work_is_recovered_by_the_others(make: Make, database_url: str) -> None:
    leaving, living = await make(), await make()
    await leaving.leave(idle=False)
    recovered = Recovered()
    async with asyncio.timeout(20):  # the server lets go of a lock a moment after its connection has ended
        while await living.recover_dead(recovered) == 0:
            await asyncio.sleep(0.05)
    assert recovered == [leaving.id]


async def test_who_leaves_just_after_a_claim_that_it_did_not_see_is_recovered_by_the_others(
    make: Make, database_url: str
) -> None:
    leaving, living = await make(), await make()
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, executor_id, queue_name) "
            "VALUES ('one', 'PENDING', 'process_ai_response', %s, 'turns')",
            [leaving.id],
        )
    await leaving.leave(idle=True)
    recovered = Recovered()
    async with asyncio.timeout(20):
        while await living.recover_dead(recovered) == 0:
            await asyncio.sleep(0.05)
    assert recovered == [leaving.id]


async def test_old_work_of_an_executor_that_has_no_row_is_given_back(make: Make, database_url: str) -> None:
    living = await make()
    with psycopg.connect(database_url, autocommit=True) as conn:
        for name, executor, age_s in (("old", "gone", 40), ("new", "just gone", 5), ("mine", living.id, 40)):
            conn.execute(
                "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, executor_id, queue_name, "
                "started_at_epoch_ms) VALUES (%s, 'PENDING', 'process_ai_response', %s, 'turns', "
                "(extract(epoch FROM now()) - %s) * 1000)",
                [name, executor, age_s],
            )
    recovered = Recovered()
    assert await living.recover_orphans(recovered) == 1
    assert recovered == ["gone"]


async def test_keeping_alive_says_when_another_has_declared_this_one_dead(make: Make, database_url: str) -> None:
    executor = await make()
    declared = asyncio.Event()
    keeping = asyncio.create_task(keep_alive(executor, Recovered(), declared.set))
    await asyncio.sleep(0.1)
    assert not declared.is_set()
    with psycopg.connect(database_url) as conn:
        conn.execute("DELETE FROM recado.executors")
    await asyncio.wait_for(declared.wait(), 5)
    await keeping


async def test_keeping_alive_outlives_a_lost_connection(make: Make, database_url: str) -> None:
    executor = await make()
    declared = asyncio.Event()
    keeping = asyncio.create_task(keep_alive(executor, Recovered(), declared.set))
    await asyncio.sleep(0.1)
    await cut(executor, database_url)
    await asyncio.sleep(2.5)
    assert not declared.is_set()
    assert not keeping.done()
    keeping.cancel()
    other = await connect(database_url, "recado_platform")
    async with other:
        row = await (await other.execute("SELECT pg_try_advisory_lock(%s) AS free", [executor.lock_key])).fetchone()
    assert row == {"free": False}


async def test_an_executor_says_what_it_is_and_heeds_that_its_version_drains(make: Make, database_url: str) -> None:
    executor = await make()
    assert executor.takes_new
    with psycopg.connect(database_url, autocommit=True) as conn:
        said = "SELECT version, recado, draining FROM recado.executors"
        assert conn.execute(said).fetchone() == (executor.version, __version__, False)
        for draining in (True, False):
            conn.execute("UPDATE recado.workflow_versions SET draining = %s", [draining])
            assert await executor.beat()
            assert executor.takes_new is not draining
            assert conn.execute(said).fetchone() == (executor.version, __version__, draining)
        conn.execute("UPDATE recado.workflow_versions SET draining = true")
    assert not (await make()).takes_new, "also one that is started later"
