"""understand, words that come late: a note that was given up and is understood after all is answered once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.assistants import unheard
from recado.journey.answer.turn import AnswerDesk, process_ai_response
from recado.ops import recovery
from tests.journey.attached import SAID, Outside, media, message, note, replies, run, understand
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, ProcessDied, desk_of
from tests.journey.test_attachments_kept_up import age, late

TOLD = unheard.WORDS["pt"]


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


async def given_up(front: Front) -> UUID:
    """A note that nobody came to in time."""
    message_id = age(front, await note(front), recovery.LATE_S + 5)
    run(front, "UPDATE dbos.workflow_status SET created_at = 0 WHERE queue_name = 'voice'")
    assert await late(front) == 1
    return message_id


async def say(front: Front, body: str) -> None:
    await front.accept(await front.arrival(body))


async def lane(front: Front, desk: AnswerDesk) -> int:
    """Run what waits in the lane of turns, as it was enqueued; answers how many turns that were."""
    waiting = [work for work in front.work() if work["queue_name"] == "turns" and work["status"] == "ENQUEUED"]
    for work in waiting:
        owner_id, conversation_id, turn_id, arrived_ms = json.loads(work["inputs"])["positionalArgs"]
        arrived_at = datetime.fromtimestamp(arrived_ms / 1000, UTC)
        await process_ai_response(desk, UUID(owner_id), UUID(conversation_id), UUID(turn_id), arrived_at=arrived_at)
        run(front, "UPDATE dbos.workflow_status SET status = 'SUCCESS' WHERE workflow_uuid = %s", work["workflow_uuid"])
    return len(waiting)


def statuses(front: Front) -> list[str]:
    return [row["status"] for row in front.stored() if row["direction"] == "inbound"]


async def test_a_note_whose_contact_was_told_is_answered_once_when_it_is_understood(
    front: Front, outside: Outside
) -> None:
    message_id = await given_up(front)
    mind = Mind("Sim, fazemos.")
    desk = desk_of(front, mind)
    await lane(front, desk)
    assert (replies(front), statuses(front)) == ([TOLD], ["answered"])
    await understand(front, outside, message_id)
    assert (statuses(front), message(front, message_id)["turn_id"]) == (["received"], None)
    await understand(front, outside, message_id)
    assert await lane(front, desk) == 1
    await understand(front, outside, message_id)
    assert await lane(front, desk) == 0
    assert (media(front)["status"], media(front)["reason"]) == ("stored", None)
    assert len(mind.shown) == 1
    assert SAID in mind.shown[0][0]
    assert (replies(front), statuses(front)) == ([TOLD, "Sim, fazemos."], ["answered"])


async def test_words_that_come_before_the_turn_that_would_say_so_are_simply_answered(
    front: Front, outside: Outside
) -> None:
    await understand(front, outside, await given_up(front))
    mind = Mind("Sim, fazemos.")
    await lane(front, desk_of(front, mind))
    assert (len(mind.shown), replies(front), statuses(front)) == (1, ["Sim, fazemos."], ["answered"])


async def test_they_are_answered_with_what_was_said_since_in_the_order_sent(front: Front, outside: Outside) -> None:
    message_id = await given_up(front)
    mind = Mind()
    await lane(front, desk_of(front, mind))
    await say(front, "e domingo?")
    await understand(front, outside, message_id)
    await lane(front, desk_of(front, mind))
    ((first, second),) = mind.shown
    assert SAID in first
    assert second == "e domingo?"
    assert (len(replies(front)), statuses(front)) == (2, ["answered", "answered"])


async def test_words_that_come_while_the_model_thinks_about_the_rest_are_in_its_one_reply(
    front: Front, outside: Outside
) -> None:
    message_id = await given_up(front)
    await say(front, "e domingo?")

    async def meanwhile() -> None:
        mind.meanwhile = None
        await understand(front, outside, message_id)

    mind = Mind(meanwhile=meanwhile)
    await lane(front, desk_of(front, mind))
    await lane(front, desk_of(front, mind))
    assert [SAID in shown[0] for shown in mind.shown] == [False, True]
    assert replies(front) == ["Olá!"]
    assert TOLD not in replies(front)[0]
    assert statuses(front) == ["answered", "answered"]


async def test_words_that_come_in_a_turns_last_round_have_a_turn_of_their_own(front: Front, outside: Outside) -> None:
    message_id = await given_up(front)
    await say(front, "1")

    async def talk_on() -> None:
        if len(mind.shown) < 3:
            await say(front, f"{len(mind.shown) + 1}")
        else:
            mind.meanwhile = None
            await understand(front, outside, message_id)

    mind = Mind(meanwhile=talk_on)
    await lane(front, desk_of(front, mind))
    await lane(front, desk_of(front, mind))
    assert [len(shown) for shown in mind.shown] == [2, 3, 4, 1]
    assert SAID in mind.shown[-1][0]
    assert len(replies(front)) == 2
    assert statuses(front) == ["answered"] * 4


async def test_words_that_come_between_a_models_answer_and_its_replay_are_not_taken_for_answered(
    front: Front, outside: Outside
) -> None:
    message_id = await given_up(front)
    await say(front, "e domingo?")
    stored: dict[str, dict[str, Any]] = {}
    mind = Mind()

    async def dies(name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        stored[name] = await work()
        raise ProcessDied

    async def replays(name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        return stored.pop(name) if name in stored else await work()

    with pytest.raises(ProcessDied):
        await lane(front, replace(desk_of(front, mind), step=dies))
    await understand(front, outside, message_id)
    await lane(front, replace(desk_of(front, mind), step=replays))
    assert [SAID in shown[0] for shown in mind.shown] == [False, True]
    assert (len(replies(front)), statuses(front)) == (1, ["answered", "answered"])


async def test_no_turn_ends_while_they_are_stored(front: Front, outside: Outside) -> None:
    message_id = await given_up(front)
    with psycopg.connect(front.database_url, options="-c search_path=recado") as turn:
        turn.execute("SELECT FROM conversations FOR UPDATE")
        storing = asyncio.create_task(understand(front, outside, message_id))
        await asyncio.sleep(0.5)
        assert message(front, message_id)["transcript"] is None
        turn.execute("UPDATE messages SET status = 'answered'")
    await storing
    assert (statuses(front), message(front, message_id)["transcript"]) == (["received"], SAID)


@pytest.mark.parametrize("conversation", ["handoff", "closed"])
async def test_where_people_have_the_conversation_they_have_the_words_and_nothing_is_said(
    front: Front, outside: Outside, conversation: str
) -> None:
    message_id = await given_up(front)
    await lane(front, desk_of(front, Mind()))
    run(front, "UPDATE conversations SET status = %s", conversation)
    await understand(front, outside, message_id)
    assert message(front, message_id)["transcript"] == SAID
    assert statuses(front) == ["answered"]
    assert await lane(front, desk_of(front, Mind())) == 0


@pytest.mark.parametrize("status", ["held", "failed"])
async def test_what_was_not_answered_without_them_stays_what_it_is(front: Front, outside: Outside, status: str) -> None:
    message_id = await given_up(front)
    run(front, "DELETE FROM dbos.workflow_status")
    run(front, "UPDATE messages SET status = %s, held_for = %s", status, "people" if status == "held" else None)
    await understand(front, outside, message_id)
    assert (statuses(front), message(front, message_id)["transcript"]) == ([status], SAID)
    assert front.work() == []
