"""Natural group commit: what gathers while a lane is busy is one transaction, and each caller hears its own answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
import pytest

from recado.db.embedded import Lease
from recado.db.group_commit import BACKLOG, BATCH, LANES, OWNERS_KEYS, SAME_KEY, GroupCommit, Unavailable
from recado.db.pool import Connection, connect

Commit = GroupCommit[int, str]


class Database:
    """Real connections, and a `write` that the test lets through; remembers every batch that it committed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.batches: list[list[int]] = []
        self.attempts: list[list[int]] = []
        self.connections = 0
        self.open = asyncio.Event()
        self.open.set()
        self.away = False
        self.lost_answers = 0
        self.bad: set[int] = set()

    async def connect(self) -> Connection:
        if self.away:
            raise psycopg.OperationalError("connection refused")
        self.connections += 1
        return await connect(self.url, "recado_app")

    async def write(self, conn: Connection, rows: Sequence[int]) -> list[str]:
        self.attempts.append(list(rows))
        await self.open.wait()
        await conn.execute("SELECT 1")
        if self.away:
            raise psycopg.OperationalError("terminating connection")
        if self.bad & set(rows):
            raise psycopg.DataError("poison")
        self.batches.append(list(rows))
        if self.lost_answers:
            self.lost_answers -= 1
            raise psycopg.OperationalError("the commit's answer was lost")
        return [f"stored {row}" for row in rows]


def one_lane(row: int) -> int:
    """A key of its own for every row, all in the first lane."""
    return row * LANES


@pytest.fixture
def database(cluster: Lease, template: str) -> Database:
    del template  # its making makes the roles
    return Database(cluster.admin_url)


@pytest.fixture
async def commit(database: Database) -> AsyncIterator[Commit]:
    async with GroupCommit(database.connect, database.write, one_lane) as opened:
        yield opened


async def gathered(commit: Commit, database: Database, rows: Sequence[int]) -> list[asyncio.Task[str]]:
    """Submit -1, and these rows while it is being written."""
    database.open.clear()
    tasks = [asyncio.create_task(commit.submit(-1))]
    while not database.attempts:
        await asyncio.sleep(0.005)
    tasks += [asyncio.create_task(commit.submit(row)) for row in rows]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_row_is_written_at_once_by_itself(commit: Commit, database: Database) -> None:
    assert await commit.submit(1) == "stored 1"
    began = time.monotonic()
    assert await commit.submit(2) == "stored 2"
    assert time.monotonic() - began < 1
    assert database.batches == [[1], [2]]


async def test_what_gathers_while_the_lane_is_busy_is_one_transaction_in_order(
    commit: Commit, database: Database
) -> None:
    tasks = await gathered(commit, database, range(20))
    database.open.set()
    assert await asyncio.gather(*tasks) == ["stored -1", *(f"stored {row}" for row in range(20))]
    assert database.batches == [[-1], list(range(20))]


async def test_no_transaction_grows_beyond_the_batch(commit: Commit, database: Database) -> None:
    tasks = await gathered(commit, database, range(BATCH * 2 + 1))
    database.open.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in database.batches] == [1, BATCH, BATCH, 1]


async def test_nobody_is_answered_before_the_commit(commit: Commit, database: Database) -> None:
    tasks = await gathered(commit, database, [1])
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in tasks)
    database.open.set()
    await asyncio.gather(*tasks)


async def test_a_bad_row_harms_only_itself(commit: Commit, database: Database) -> None:
    database.bad = {7}
    tasks = await gathered(commit, database, range(20))
    database.open.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(8), psycopg.DataError)
    assert answers == ["stored -1", *(f"stored {row}" for row in range(20) if row != 7)]
    assert sorted(row for batch in database.batches for row in batch) == [-1, *(r for r in range(20) if r != 7)]


async def test_while_the_database_is_away_every_caller_hears_it_quickly_and_it_recovers(
    commit: Commit, database: Database
) -> None:
    assert await commit.submit(0) == "stored 0"
    database.away = True
    began = time.monotonic()
    answers = await asyncio.gather(*(commit.submit(row) for row in range(300)), return_exceptions=True)
    assert time.monotonic() - began < 4
    assert {type(answer) for answer in answers} == {Unavailable}
    database.away = False
    assert await commit.submit(1) == "stored 1"


async def test_a_connection_that_broke_is_replaced_and_the_rows_are_tried_again_alone(
    commit: Commit, database: Database
) -> None:
    database.lost_answers = 1
    tasks = await gathered(commit, database, [])
    database.open.set()
    assert await asyncio.gather(*tasks) == ["stored -1"]
    assert database.batches == [[-1], [-1]], "`write` must bear this: the first commit may have happened or not"
    assert database.connections == 2


async def test_the_connection_is_kept_from_batch_to_batch(commit: Commit, database: Database) -> None:
    for row in range(5):
        await commit.submit(row)
    assert database.connections == 1


async def test_one_caller_too_many_is_told_at_once(commit: Commit, database: Database) -> None:
    tasks = await gathered(commit, database, range(BACKLOG))
    with pytest.raises(Unavailable):
        await commit.submit(BACKLOG)
    database.open.set()
    await asyncio.gather(*tasks)


async def test_one_key_can_not_fill_the_lane_that_it_shares(database: Database) -> None:
    async with GroupCommit(database.connect, database.write, lambda row: 0 if row < 1000 else 2) as commit:
        flood = await gathered(commit, database, range(SAME_KEY - 1))
        with pytest.raises(Unavailable):
            await commit.submit(999)
        other = asyncio.create_task(commit.submit(1000))
        await asyncio.sleep(0)
        database.open.set()
        assert await other == "stored 1000"
        await asyncio.gather(*flood)
        assert await commit.submit(0) == "stored 0", "there is room again"


async def test_rows_that_nobody_waits_for_do_not_stand_before_the_others(database: Database) -> None:
    async with GroupCommit(database.connect, database.write, lambda row: row, apart=lambda row: row >= 1000) as commit:
        flood = await gathered(commit, database, range(1000, 1000 + 3 * BATCH))
        other = asyncio.create_task(commit.submit(2))  # not in the lane of the -1 that `gathered` has sent
        while [2] not in database.attempts:
            await asyncio.sleep(0.005)
        database.open.set()
        assert await other == "stored 2"
        await asyncio.gather(*flood)
    assert all(len({row >= 1000 for row in batch}) == 1 for batch in database.batches)


async def test_a_caller_who_gave_up_takes_nothing_from_the_others(commit: Commit, database: Database) -> None:
    tasks = await gathered(commit, database, [1, 2, 3])
    tasks[2].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[2]
    database.open.set()
    assert await asyncio.gather(tasks[1], tasks[3]) == ["stored 1", "stored 3"]


async def test_who_still_waits_when_it_closes_is_told_and_not_left_hanging(database: Database) -> None:
    async with GroupCommit(database.connect, database.write, one_lane) as commit:
        tasks = await gathered(commit, database, range(BATCH + 5))
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 2)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert database.batches == []


async def test_two_lanes_do_not_wait_for_each_other(database: Database) -> None:
    second = asyncio.Event()

    async def write(_conn: Connection, rows: Sequence[int]) -> list[str]:
        if rows[0] == 0:
            await asyncio.wait_for(second.wait(), 3)
        else:
            second.set()
        return [str(row) for row in rows]

    async with GroupCommit(database.connect, write, lambda row: row) as commit:
        assert await asyncio.gather(commit.submit(0), commit.submit(1)) == ["0", "1"]


class Locks:
    """Rows that take a lock of their own, or work for long, in a real transaction; a test holds some of the locks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.batches: list[list[int]] = []
        self.attempts: list[list[int]] = []
        self.slow: set[int] = set()

    async def connect(self) -> Connection:
        return await connect(self.url, "recado_app")

    async def write(self, conn: Connection, rows: Sequence[int]) -> list[int]:
        self.attempts.append(list(rows))
        async with conn.transaction():
            for row in rows:
                await conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCKS, key_of(row)])
                if row in self.slow:
                    await conn.execute("SELECT pg_sleep(300)")
        self.batches.append(list(rows))
        return list(rows)

    def mixed(self) -> int:
        """In how many attempts rows of A were together with rows of B."""
        return sum(len({owner_of(row) for row in rows}) > 1 for rows in self.attempts)

    @contextmanager
    def held(self, *rows: int) -> Iterator[None]:
        """Somebody else has the locks of these rows."""
        with psycopg.connect(self.url) as conn:
            for row in rows:
                conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCKS, key_of(row)])
            yield


LOCKS = 4712
#: A's rows are below, B's from here on; ten of a row share its key, and all keys share the first lane.
OF_B = 10_000


def key_of(row: int) -> int:
    return row // 10 * LANES


def owner_of(row: int) -> str:
    return "B" if row >= OF_B else "A"


@pytest.fixture
def locks(cluster: Lease, template: str) -> Locks:
    del template
    return Locks(cluster.admin_url)


async def answers_of(commit: GroupCommit[int, int], rows: Iterable[int]) -> dict[int, int | BaseException]:
    """What each is answered, all submitted at once: they are in one batch, as long as they fit."""
    given = list(rows)
    return dict(zip(given, await asyncio.gather(*map(commit.submit, given), return_exceptions=True), strict=True))


@pytest.mark.parametrize("locked", [1, 10])
async def test_all_that_others_send_is_stored_while_rows_ahead_of_theirs_wait_for_a_lock(
    locks: Locks, locked: int
) -> None:
    of_a, of_b = [key * 10 for key in range(locked)], [OF_B + key * 10 for key in range(20)]
    async with GroupCommit(locks.connect, locks.write, key_of, owner_of=owner_of) as commit:
        with locks.held(*of_a):
            answers = await answers_of(commit, of_a + of_b)
            assert locks.attempts[0] == of_a + of_b, "they are in one batch, A's ahead"
            assert [answers[row] for row in of_b] == of_b
            assert {type(answers[row]) for row in of_a} == {Unavailable}
        assert await answers_of(commit, of_a) == {row: row for row in of_a}, "once the lock is free"


async def test_the_next_rows_of_who_waits_for_locks_are_no_longer_among_those_of_others(
    locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recado.db.group_commit.REMEMBER_S", 120.0)
    of_a = [key * 10 for key in range(OWNERS_KEYS)]
    async with GroupCommit(locks.connect, locks.write, key_of, owner_of=owner_of) as commit:
        with locks.held(*of_a):
            assert (await answers_of(commit, [*of_a, OF_B]))[OF_B] == OF_B
            mixed, others = locks.mixed(), [OF_B + key * 10 for key in range(BATCH)]
            free = OWNERS_KEYS * 10  # a key of A that nobody has locked
            answers = await answers_of(commit, [of_a[0] + 1, free, *others])
            assert isinstance(answers.pop(of_a[0] + 1), Unavailable)
            assert answers == {row: row for row in (free, *others)}
            assert locks.mixed() == mixed
            assert others in locks.batches, "all of B's at once, and at the first try"


async def test_nothing_of_a_key_overtakes_what_waits_for_its_lock(locks: Locks) -> None:
    async with GroupCommit(locks.connect, locks.write, key_of, owner_of=owner_of) as commit:
        with locks.held(0):
            rows = [asyncio.create_task(commit.submit(row)) for row in range(3)]
            while [0] not in locks.attempts:  # the batch has failed, and each is tried alone
                await asyncio.sleep(0.005)
            rows += [asyncio.create_task(commit.submit(row)) for row in range(3, 6)]
            await asyncio.sleep(0)
        answered = [answer for answer in await asyncio.gather(*rows, return_exceptions=True) if isinstance(answer, int)]
    stored = [row for batch in locks.batches for row in batch]
    assert stored == answered == sorted(stored), "in their order, and each once"


async def test_a_statement_that_takes_too_long_harms_only_its_own_row(
    locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recado.db.group_commit.STATEMENT_S", 0.3)
    locks.slow = {0}
    of_b = [OF_B + key * 10 for key in range(20)]
    async with GroupCommit(locks.connect, locks.write, key_of, owner_of=owner_of) as commit:
        answers = await answers_of(commit, [0, *of_b])
    assert isinstance(answers.pop(0), Unavailable)
    assert answers == {row: row for row in of_b}
