"""understand: a turn waits until the contact has finished speaking, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from recado.conversations.messages import Message
from recado.db.scope import Scope
from recado.journey.pause import Later, give_way
from recado.journey.understand.listen import PATIENCE, listen
from tests.clock import TestClock
from tests.journey.front import Front, open_front

#: Long, as no test waits for it.
WINDOW = timedelta(seconds=30)


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


async def say(front: Front, clock: TestClock, body: str, *, ago: timedelta = timedelta()) -> UUID:
    """A message that arrived so long ago; answers its conversation."""
    await front.accept(await front.arrival(body, at=clock.now() - ago))
    (row,) = front.rows("SELECT conversation_id FROM messages WHERE body = %s", body)
    conversation_id: UUID = row["conversation_id"]
    return conversation_id


def turn(
    front: Front,
    clock: TestClock,
    conversation_id: UUID,
    *,
    since: datetime | None = None,
    pause: Callable[[float], Awaitable[None]] | None = None,
    then: Callable[[Scope, list[Message]], Awaitable[None]] | None = None,
) -> asyncio.Task[list[str | None]]:
    """A turn that was made for a message of that moment, or of now: what it hears."""

    async def hears() -> list[str | None]:
        heard = await listen(
            front.wiring.pool,
            clock,
            WINDOW,
            front.owner_id,
            conversation_id,
            since=since or clock.now(),
            pause=pause,
            then=then,
        )
        return [message.body for message in heard]

    return asyncio.create_task(hears())


async def test_the_window_counts_from_the_arrival_so_time_spent_in_the_queue_is_not_waited_again(
    front: Front, clock: TestClock
) -> None:
    conversation_id = await say(front, clock, "Oi", ago=WINDOW)
    assert await turn(front, clock, conversation_id, since=clock.now() - WINDOW) == ["Oi"]
    assert clock.passed_s == 0


async def test_what_has_just_come_is_not_answered_before_its_window_is_over(front: Front, clock: TestClock) -> None:
    conversation_id = await say(front, clock, "Oi")
    heard = turn(front, clock, conversation_id)
    assert await clock.asleep() == clock.now() + WINDOW
    clock.advance(seconds=0.9 * WINDOW.total_seconds())
    await asyncio.sleep(0)
    assert not heard.done()
    clock.advance(seconds=0.1 * WINDOW.total_seconds())
    assert await heard == ["Oi"]


async def test_a_message_within_the_window_is_heard_too_and_opens_the_window_again(
    front: Front, clock: TestClock
) -> None:
    conversation_id = await say(front, clock, "Oi")
    heard = turn(front, clock, conversation_id)
    first = await clock.asleep()
    clock.advance(seconds=0.9 * WINDOW.total_seconds())
    await say(front, clock, "tudo bem?")
    came = clock.now()
    clock.advance(seconds=(first - came).total_seconds())
    assert await clock.asleep() == came + WINDOW
    clock.advance(seconds=WINDOW.total_seconds())
    assert await heard == ["Oi", "tudo bem?"]


async def test_someone_who_never_stops_is_answered_after_a_bounded_number_of_windows(
    front: Front, clock: TestClock
) -> None:
    conversation_id = await say(front, clock, "0")
    ends, bodies = clock.now() + WINDOW * PATIENCE, ["0"]
    heard = turn(front, clock, conversation_id)
    while (wakes := await clock.asleep()) < ends:
        clock.advance(seconds=(wakes - clock.now()).total_seconds() - 1)
        bodies.append(str(len(bodies)))
        await say(front, clock, bodies[-1])
        clock.advance(seconds=1)
    assert not heard.done()
    assert wakes == ends
    clock.advance(seconds=WINDOW.total_seconds())
    assert await heard == bodies
    assert len(bodies) > PATIENCE


async def test_what_another_turn_has_taken_is_not_heard_again(front: Front, clock: TestClock) -> None:
    conversation_id = await say(front, clock, "Oi", ago=WINDOW)
    with psycopg.connect(front.database_url) as conn:
        conn.execute("UPDATE recado.messages SET status = 'answered'")
    assert await turn(front, clock, conversation_id, since=clock.now() - WINDOW) == []
    assert clock.passed_s == 0


async def test_only_the_conversation_that_was_asked_for_is_heard(front: Front, clock: TestClock) -> None:
    conversation_id = await say(front, clock, "Oi", ago=WINDOW)
    await front.accept(await front.arrival("outra pessoa", From="whatsapp:+5511900000000"))
    assert await turn(front, clock, conversation_id, since=clock.now() - WINDOW) == ["Oi"]


async def test_a_clock_that_is_ahead_delays_an_answer_by_no_more_than_a_quiet_window(
    front: Front, clock: TestClock
) -> None:
    ahead = timedelta(minutes=5)
    conversation_id = await say(front, clock, "Oi", ago=-ahead)
    began = clock.now()
    heard = turn(front, clock, conversation_id, since=began + ahead)
    assert await clock.asleep() == began + WINDOW, "it still waits for what comes behind it"
    while not heard.done() and clock.now() < began + 2 * WINDOW:
        clock.advance(seconds=WINDOW.total_seconds())
        await asyncio.wait({heard, asyncio.create_task(clock.asleep())}, return_when=asyncio.FIRST_COMPLETED)
    assert await heard == ["Oi"]


async def test_a_long_window_is_waited_for_outside_of_the_slot_but_not_for_a_time_that_is_ahead(
    front: Front, clock: TestClock
) -> None:
    """Run again it would find the time as far ahead as before, and wait again."""
    second = timedelta(seconds=1)
    conversation_id = await say(front, clock, "Oi", ago=second)
    pause = partial(give_way, clock)
    with pytest.raises(Later) as later:
        await turn(front, clock, conversation_id, since=clock.now() - second, pause=pause)
    assert later.value.wait_s == (WINDOW - second).total_seconds()
    heard = turn(front, clock, conversation_id, since=clock.now() + timedelta(minutes=5), pause=pause)
    assert await clock.asleep() == clock.now() + WINDOW
    clock.advance(seconds=WINDOW.total_seconds())
    assert await heard == ["Oi"]


async def test_what_is_done_with_what_is_taken_is_done_once_it_is_quiet_in_the_transaction_that_read_it(
    front: Front, clock: TestClock
) -> None:
    conversation_id = await say(front, clock, "Oi")
    given: list[list[str]] = []

    async def then(scope: Scope, heard: list[Message]) -> None:
        given.append([message.body for message in heard])
        await scope.conn.execute("UPDATE messages SET starts = 1")
        if len(given) == 1:
            raise psycopg.OperationalError("the commit's outcome is lost")

    heard = turn(front, clock, conversation_id, since=clock.now() - timedelta(hours=1), then=then)
    wakes = await clock.asleep()
    assert given == [], "not before it is quiet"
    clock.advance(seconds=(wakes - clock.now()).total_seconds())
    assert await heard == ["Oi"]
    assert given == [["Oi"], ["Oi"]], "again where the transaction came to nothing"
    assert front.rows("SELECT starts FROM messages") == [{"starts": 1}]
    front.rows("UPDATE messages SET status = 'answered' RETURNING id")
    assert await turn(front, clock, conversation_id, since=clock.now() - timedelta(hours=1), then=then) == []
    assert len(given) == 2
