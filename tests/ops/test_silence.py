"""A machine that vanishes without a word: the server lets its executor's lock go, and we give up a server like that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg
import pytest
import sqlalchemy as sa

from recado.db import migrate, patience
from recado.db import pool as db
from recado.db.group_commit import GroupCommit, Unavailable
from recado.db.patience import Silent
from recado.ops.executors import Executor
from tests.silence import forwarding


def opening(url: str) -> Callable[[], Awaitable[db.Connection]]:
    return lambda: db.connect(url, "recado_platform")


async def recovered(executor: Executor) -> list[str]:
    """Whose work was given back, once somebody's was."""
    found: list[str] = []

    async def recover(executor_id: str) -> int:
        found.append(executor_id)
        return 0

    async with asyncio.timeout(60):
        while not found:
            assert await executor.beat()
            await executor.recover_dead(recover)
            await asyncio.sleep(0.1)
    return found


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recado.ops.executors.AFTER_RESTART_S", 0.0)


async def test_the_work_of_a_machine_that_vanished_is_taken_over_within_its_silence(database_url: str) -> None:
    other = Executor(opening(database_url), "worker", ["turns"])
    await other.register()
    async with forwarding(database_url) as forwarder:
        vanishing = Executor(opening(forwarder.url), "worker", ["turns"], silent_s=1.0)
        await vanishing.register()
        assert await vanishing.beat()
        forwarder.silence()
        assert await recovered(other) == [vanishing.id]
        await vanishing._drop()
    await other.leave(idle=True)


async def test_a_long_recovery_keeps_its_own_lock(database_url: str) -> None:
    executor = Executor(opening(database_url), "worker", ["turns"], silent_s=1.5)
    dead = Executor(opening(database_url), "worker", ["turns"])
    await executor.register()
    await dead.register()
    await dead.leave(idle=False)

    async def recover(_: str) -> int:
        await asyncio.sleep(3)  # longer than the server bears silence
        return 0

    async with asyncio.timeout(60):
        while await executor.recover_dead(recover) == 0:
            assert await executor.beat()
            await asyncio.sleep(0.1)
    assert await executor.beat()
    await executor.leave(idle=True)


async def test_an_executor_whose_former_session_still_holds_its_lock_is_itself(database_url: str) -> None:
    async with forwarding(database_url) as forwarder:
        url = [forwarder.url]
        executor = Executor(lambda: db.connect(url[0], "recado_platform"), "worker", ["turns"], silent_s=2.0)
        await executor.register()
        assert executor._conn is not None
        executor._conn.patience_s = 0.3  # type: ignore[attr-defined]
        forwarder.silence()
        with pytest.raises(Silent):
            await executor.beat()
        url[0] = database_url  # there is another way
        assert await executor.beat(), "the lock is held by its own session, which the server has not given up yet"
        async with asyncio.timeout(60):
            while executor._conn is None or executor._conn.closed:
                assert await executor.beat()
                await asyncio.sleep(0.1)
        await executor.leave(idle=True)


async def test_a_query_that_a_silent_server_never_answers_is_given_up(database_url: str) -> None:
    async with forwarding(database_url) as forwarder:
        async with asyncio.timeout(30):
            conn = await db.connect(forwarder.url, "recado_platform", patience_s=0.3)
            forwarder.silence()
            with pytest.raises(Silent):
                await conn.execute("SELECT 1")
        assert conn.closed


async def test_who_leaves_a_query_to_a_silent_server_is_soon_free(database_url: str) -> None:
    async with forwarding(database_url) as forwarder:
        conn = await db.connect(forwarder.url, "recado_platform")
        forwarder.silence()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await conn.execute("SELECT 1")
        assert time.monotonic() - began < 8, "psycopg by itself waits for ten seconds"
        assert conn.closed


async def test_the_engines_threads_give_up_a_silent_server_and_listen_as_long_as_they_like(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience.PatientThread, "patience_s", 0.3)
    async with forwarding(database_url) as forwarder:
        engine = db.engine(forwarder.url, size=1)

        def work() -> None:
            with engine.connect() as conn:
                conn.execute(sa.text("SELECT 1"))
                driver = conn.connection.driver_connection
                assert isinstance(driver, psycopg.Connection)
                conn.commit()
                assert list(driver.notifies(timeout=1.0)) == []  # three times its patience
                forwarder.silence()
                conn.execute(sa.text("SELECT 1"))

        with pytest.raises(sa.exc.OperationalError):
            await asyncio.wait_for(asyncio.to_thread(work), 30)
        engine.dispose()


async def test_a_silent_database_is_said_to_all_within_bounded_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recado.db.group_commit.TIME_OUT_S", 0.5)
    monkeypatch.setattr("recado.db.group_commit.CONNECT_S", 0.5)

    async def write(conn: db.Connection, rows: object) -> list[int]:
        await conn.execute("SELECT 1")
        return list(rows)  # type: ignore[call-overload,no-any-return]

    async with (
        forwarding(database_url) as forwarder,
        GroupCommit(lambda: db.connect(forwarder.url, "recado_app"), write, lambda row: row) as commit,
    ):
        assert await commit.submit(1) == 1
        forwarder.silence()
        began = time.monotonic()
        answers = await asyncio.gather(*(commit.submit(row) for row in range(500)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
        assert time.monotonic() - began < 20, "eight batches, and not each by itself"


#: In the server's own units. Its configuration file has two of them already: what counts is that they come from us.
GUARDS = {
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": "20000",
    "client_connection_check_interval": "2000",
}
#: `SHOW` would say 0 for the first four, as the tests' server is reached by its socket; what a session was given is
#: what it goes back to.
GIVEN = "SELECT name, reset_val AS value FROM pg_settings WHERE source = 'client' AND name = ANY(:names)"


@pytest.mark.parametrize("role", ["recado_app", "recado_platform"])
async def test_every_connection_asks_the_server_to_look_after_its_peer(database_url: str, role: db.Role) -> None:
    async with await db.connect(database_url, role) as conn:
        ours = set(conn.info.get_parameters())
        found = await (await conn.execute(GIVEN.replace(":names", "%s"), [list(GUARDS)])).fetchall()
    assert {row["name"]: row["value"] for row in found} == GUARDS
    assert ours >= {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}


@pytest.mark.parametrize("which", ["workflow engine", "migrations"])
def test_the_engines_connections_and_the_migrations_ask_for_it_too(database_url: str, which: str) -> None:
    url = database_url + "&options=-c%20work_mem%3D5MB"
    made = db.engine(database_url, size=1) if which == "workflow engine" else migrate.engine(url)
    with made.connect() as conn:
        found = conn.execute(sa.text(GIVEN), {"names": list(GUARDS)}).all()
        own = conn.execute(sa.text("SHOW work_mem")).scalar()
        driver = conn.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        ours = set(driver.info.get_parameters())
    made.dispose()
    assert {row.name: row.value for row in found} == GUARDS
    assert ours >= {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
    if which == "migrations":
        assert own == "5MB", "what the URL itself asks for is kept"
