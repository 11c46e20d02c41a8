"""Whoever follows the events misses none, however transactions overlap, and waits for no more than they must."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
import pytest

from recado.conversations import events
from recado.db.pool import Pool, open_pool
from recado.db.scope import Scope, scoped
from recado.ids import new_id


@dataclass(slots=True)
class Follower:
    """An owner, and one who reads what happens to them from where they left off."""

    pool: Pool
    owner_id: UUID
    after: int = 0
    read: list[str] = field(default_factory=list)

    async def look(self) -> list[str]:
        """Everything read so far, with what is new."""
        async with scoped(self.pool, self.owner_id) as scope:
            found = await events.page(scope, after=self.after, limit=100)
        if found:
            self.after = found[-1].id
        self.read += [event.what for event in found]
        return self.read

    async def open(self, stack: AsyncExitStack) -> Scope:
        """A transaction that is committed when the stack is closed."""
        return await stack.enter_async_context(scoped(self.pool, self.owner_id))

    async def happens(self, what: str) -> None:
        async with scoped(self.pool, self.owner_id) as scope:
            await events.record(scope, step="accept", what=what)


@pytest.fixture
async def follower(database_url: str) -> AsyncIterator[Follower]:
    owner_id = new_id()
    with psycopg.connect(database_url) as conn:
        conn.execute("INSERT INTO recado.owners (id, name) VALUES (%s, 'Padaria')", [owner_id])
    async with open_pool(database_url, "recado_app", size=10) as pool:
        yield Follower(pool, owner_id)


@pytest.mark.parametrize("number", [1, 2**31 - 2, 2**32 - 2, 2**40])
async def test_an_event_that_is_committed_late_comes_before_those_that_overtook_it(
    follower: Follower, database_url: str, number: int
) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("SELECT setval('recado.events_id_seq', %s)", [number])
    await follower.happens("before")
    async with AsyncExitStack() as slow:
        await events.record(await follower.open(slow), step="accept", what="slow")
        await follower.happens("quick")
        assert await follower.look() == ["before"]
    assert await follower.look() == ["before", "slow", "quick"]


async def test_a_transaction_that_began_later_may_have_the_earlier_event(follower: Follower) -> None:
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        early = await follower.open(first)
        await early.conn.execute("SELECT pg_current_xact_id()")  # as writing anything else would
        await events.record(await follower.open(second), step="accept", what="of the second")
        await events.record(early, step="accept", what="of the first")
        await first.aclose()
        assert await follower.look() == []
        await second.aclose()
    assert await follower.look() == ["of the second", "of the first"]


async def test_what_a_savepoint_undid_holds_back_nothing_and_lets_nothing_through(follower: Follower) -> None:
    async with AsyncExitStack() as stack:
        scope = await follower.open(stack)
        async with scope.conn.transaction():
            await events.record(scope, step="accept", what="undone")
            raise psycopg.Rollback
        await follower.happens("quick")
        assert await follower.look() == ["quick"]
        await events.record(scope, step="accept", what="done")
        await follower.happens("late")
        assert await follower.look() == ["quick"]
    assert await follower.look() == ["quick", "done", "late"]


async def test_a_transaction_without_an_event_keeps_none_back(follower: Follower) -> None:
    async with AsyncExitStack() as stack:
        await (await follower.open(stack)).conn.execute("SELECT pg_current_xact_id()")
        await follower.happens("quick")
        assert await follower.look() == ["quick"]


async def test_of_many_writers_at_once_everything_is_read_once_and_in_order(follower: Follower) -> None:
    chance = random.Random(7)

    async def write(name: int) -> None:
        for turn in range(12):
            async with AsyncExitStack() as stack:
                scope = await follower.open(stack)
                for part in range(chance.choice((1, 2))):
                    await events.record(scope, step="accept", what=f"{name}.{turn}.{part}")
                    await asyncio.sleep(chance.choice((0, 0, 0.02)))

    writers = asyncio.gather(*(write(name) for name in range(8)))
    while not writers.done():
        await follower.look()
    read = await follower.look()
    async with scoped(follower.pool, follower.owner_id) as scope:
        cursor = await scope.conn.execute("SELECT what FROM events ORDER BY id")
        assert read == [row["what"] for row in await cursor.fetchall()]
    assert len(read) > 96
