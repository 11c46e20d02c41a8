"""understand: a turn waits until the contact has finished speaking, but not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from recado.conversations.messages import Message
from recado.db.scope import Scope
from recado.journey.pause import Later, give_way
from recado.journey.understand.listen import PATIENCE, listen
from tests.journey.front import Front, open_front

WINDOW = timedelta(milliseconds=300)


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


async def say(front: Front, body: str, *, ago: timedelta = timedelta()) -> UUID:
    """A message that arrived so long ago; answers its conversation."""
    await front.accept(await front.arrival(body, at=front.wiring.clock.now() - ago))
    (row,) = front.rows("SELECT conversation_id FROM messages WHERE body = %s", body)
    conversation_id: UUID = row["conversation_id"]
    return conversation_id


async def hear(
    front: Front, conversation_id: UUID, *, window: timedelta = WINDOW, ago: timedelta = timedelta()
) -> tuple[list[Message], float]:
    """What a turn hears that was made for a message of so long ago, and how long it listened."""
    began = time.monotonic()
    since = front.wiring.clock.now() - ago
    heard = await listen(front.wiring.pool, front.wiring.clock, window, front.owner_id, conversation_id, since=since)
    return heard, time.monotonic() - began


async def test_the_window_counts_from_the_arrival_so_time_spent_in_the_queue_is_not_waited_again(
    front: Front,
) -> None:
    conversation_id = await say(front, "Oi", ago=timedelta(seconds=10))
    heard, took = await hear(front, conversation_id, window=timedelta(seconds=9), ago=timedelta(seconds=10))
    assert [message.body for message in heard] == ["Oi"]
    assert took < 5


async def test_what_has_just_come_is_not_answered_before_its_window_is_over(front: Front) -> None:
    conversation_id = await say(front, "Oi")
    _, took = await hear(front, conversation_id)
    assert took >= 0.25


async def test_a_message_within_the_window_is_heard_too_and_opens_the_window_again(front: Front) -> None:
    conversation_id = await say(front, "Oi")
    window = timedelta(seconds=1.5)
    turn = asyncio.create_task(hear(front, conversation_id, window=window))
    await asyncio.sleep(0.3)
    await say(front, "tudo bem?")
    heard, took = await turn
    assert [message.body for message in heard] == ["Oi", "tudo bem?"]
    assert took >= 1.75


async def test_someone_who_never_stops_is_answered_after_a_bounded_number_of_windows(front: Front) -> None:
    conversation_id = await say(front, "0")
    window = timedelta(seconds=0.8)
    turn = asyncio.create_task(hear(front, conversation_id, window=window))
    number, longest, last = 0, 0.0, time.monotonic()
    while not turn.done():
        number += 1
        assert number < 200
        await asyncio.sleep(0.1)
        await say(front, str(number))
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    heard, took = await turn
    assert took < window.total_seconds() * PATIENCE + 5
    # On a machine so busy that they paused for a window, the turn was right to begin.
    if longest < window.total_seconds() / 2:
        assert len(heard) > 3
        assert window.total_seconds() * (PATIENCE - 1) <= took


async def test_what_another_turn_has_taken_is_not_heard_again(front: Front) -> None:
    conversation_id = await say(front, "Oi", ago=timedelta(seconds=1))
    with psycopg.connect(front.database_url) as conn:
        conn.execute("UPDATE recado.messages SET status = 'answered'")
    heard, took = await hear(front, conversation_id, ago=timedelta(seconds=1))
    assert heard == []
    assert took < 5


async def test_only_the_conversation_that_was_asked_for_is_heard(front: Front) -> None:
    conversation_id = await say(front, "Oi", ago=timedelta(seconds=1))
    await front.accept(await front.arrival("outra pessoa", From="whatsapp:+5511900000000"))
    heard, _ = await hear(front, conversation_id, ago=timedelta(seconds=1))
    assert [message.body for message in heard] == ["Oi"]


async def test_a_clock_that_is_ahead_delays_an_answer_by_no_more_than_a_quiet_window(front: Front) -> None:
    conversation_id = await say(front, "Oi", ago=-timedelta(minutes=5))
    async with asyncio.timeout(30):
        heard, took = await hear(front, conversation_id, ago=-timedelta(minutes=5))
    assert [message.body for message in heard] == ["Oi"]
    assert took >= 0.25, "it still waits for what comes behind it"


async def test_a_long_window_is_waited_for_outside_of_the_slot_but_not_for_a_time_that_is_ahead(front: Front) -> None:
    """Run again it would find the time as far ahead as before, and wait again."""
    conversation_id = await say(front, "Oi", ago=timedelta(seconds=1))
    asked = listen(
        front.wiring.pool,
        front.wiring.clock,
        timedelta(seconds=30),
        front.owner_id,
        conversation_id,
        since=front.wiring.clock.now() - timedelta(seconds=1),
        pause=give_way,
    )
    with pytest.raises(Later) as later:
        await asked
    assert 25 < later.value.wait_s <= 29
    heard = await listen(
        front.wiring.pool,
        front.wiring.clock,
        WINDOW,
        front.owner_id,
        conversation_id,
        since=front.wiring.clock.now() + timedelta(minutes=5),
        pause=give_way,
    )
    assert [message.body for message in heard] == ["Oi"]


async def test_what_is_done_with_what_is_taken_is_done_once_it_is_quiet_in_the_transaction_that_read_it(
    front: Front,
) -> None:
    conversation_id = await say(front, "Oi")
    given: list[list[str]] = []

    async def then(scope: Scope, heard: list[Message]) -> None:
        given.append([message.body for message in heard])
        await scope.conn.execute("UPDATE messages SET starts = 1")
        if len(given) == 1:
            raise psycopg.OperationalError("the commit's outcome is lost")

    async def hears() -> list[Message]:
        return await listen(
            front.wiring.pool,
            front.wiring.clock,
            WINDOW,
            front.owner_id,
            conversation_id,
            since=front.wiring.clock.now() - timedelta(hours=1),
            then=then,
        )

    assert [message.body for message in await hears()] == ["Oi"]
    assert given == [["Oi"], ["Oi"]], "not before it was quiet, and again where the transaction came to nothing"
    assert front.rows("SELECT starts FROM messages") == [{"starts": 1}]
    front.rows("UPDATE messages SET status = 'answered' RETURNING id")
    assert await hears() == []
    assert len(given) == 2
