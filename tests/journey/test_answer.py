"""answer: a turn and its reply are one transaction, made once, whatever happens around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.assistants.run import Thought, think
from recado.channels.port import ErrorClass, Sender, SendError
from recado.conversations import happenings
from recado.conversations.happenings import Happening
from recado.errors import RecadoError
from recado.journey.answer.turn import AnswerDesk, process_ai_response
from recado.journey.pause import Later
from tests.journey.conftest import MODEL
from tests.journey.front import Front, open_front
from tests.model_server import ModelServer, Reply


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


class ProcessDied(BaseException):
    """The process ends here."""


@dataclass(slots=True)
class Mind:
    """A model that says what the test wants, and what it was shown; `meanwhile` happens while it thinks."""

    says: str | RecadoError = "Olá!"
    shown: list[list[str]] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[None]] | None = None
    model: str = "scripted"

    async def __call__(self, _assistant: Any, **given: Any) -> Thought:
        self.shown.append([line.text for line in given["pending"]])
        if self.meanwhile is not None:
            await self.meanwhile()
        if isinstance(self.says, RecadoError):
            raise self.says
        return Thought(text=self.says, model=self.model, input_tokens=11, output_tokens=7)


async def at_once(_name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    return await work()


async def nobody(_owner_id: UUID, _account_id: UUID) -> Sender:
    raise SendError(ErrorClass.CONFIGURATION, "there is no Twilio here")


def desk_of(front: Front, mind: Callable[..., Awaitable[Thought]]) -> AnswerDesk:
    return AnswerDesk(
        pool=front.wiring.pool,
        clock=front.wiring.clock,
        quiet_window=timedelta(0),
        default_model="scripted",
        model_timeout_s=5,
        think=mind,
        step=at_once,
        sender_of=nobody,
    )


async def say(front: Front, body: str = "Oi") -> UUID:
    """A message of the contact; answers its conversation."""
    await front.accept(await front.arrival(body))
    conversation_id: UUID = front.stored()[-1]["conversation_id"]
    return conversation_id


async def turn(front: Front, desk: AnswerDesk, conversation_id: UUID) -> None:
    first = next(row for row in front.stored() if row["direction"] == "inbound")
    await process_ai_response(desk, front.owner_id, conversation_id, first["id"], arrived_at=front.wiring.clock.now())


def replies(front: Front) -> list[str]:
    return [row["body"] for row in front.stored() if row["direction"] == "outbound"]


def deliveries(front: Front) -> list[str]:
    return [work["workflow_uuid"] for work in front.work() if work["queue_name"] == "deliveries"]


def run(front: Front, query: str) -> None:
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        conn.execute(query)  # type: ignore[arg-type]


async def test_a_turn_stores_reply_delivery_turn_and_event(front: Front) -> None:
    await turn(front, desk_of(front, Mind()), await say(front))
    question, answer = front.stored()
    assert (question["status"], answer["status"], answer["body"]) == ("answered", "queued", "Olá!")
    assert answer["correlation_id"] == question["correlation_id"]
    assert answer["reply_to"] == question["id"]
    assert deliveries(front) == [str(answer["id"])]
    (made,) = front.rows("SELECT outcome, model, input_tokens, output_tokens, rounds FROM turns")
    assert made == {"outcome": "answered", "model": "scripted", "input_tokens": 11, "output_tokens": 7, "rounds": 1}
    (event,) = front.rows("SELECT what, data FROM events WHERE step = 'answer'")
    assert event["what"] == "answered"
    assert "Olá" not in str(event["data"])


async def test_whoever_hears_of_a_turn_has_its_ids_and_figures_and_no_words(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Happening] = []
    monkeypatch.setattr(happenings, "SUBSCRIBERS", (heard.append,))
    await turn(front, desk_of(front, Mind()), await say(front, "Quanto custa?"))
    question, _ = front.stored()
    (told,) = [one for one in heard if one.what != "typing_failed"]  # there is no Twilio here
    assert (told.step, told.what, told.owner_id) == ("answer", "answered", front.owner_id)
    assert (told.message_id, told.correlation_id) == (question["id"], question["correlation_id"])
    assert told.conversation_id == question["conversation_id"]
    assert told.duration_s is not None
    assert told.age_s is not None
    assert told.age_s >= told.duration_s >= 0
    figures = {name: told.details[name] for name in ("messages", "rounds", "model", "input_tokens", "output_tokens")}
    assert figures == {"messages": 1, "rounds": 1, "model": "scripted", "input_tokens": 11, "output_tokens": 7}
    assert "Olá" not in repr(told)
    assert "Quanto" not in repr(told)


async def test_a_model_that_hangs_costs_the_contact_a_bounded_time(front: Front, model_server: ModelServer) -> None:
    model_server.script = lambda _: Reply(hang=True)
    conversation_id = await say(front)
    desk = replace(desk_of(front, think), default_model=MODEL, model_timeout_s=1.0)
    async with asyncio.timeout(30):
        await turn(front, desk, conversation_id)
    assert len(replies(front)) == 1
    (made,) = front.rows("SELECT outcome, error FROM turns")
    assert made["outcome"] == "keyless"
    assert "timed_out" in made["error"]


@pytest.mark.parametrize("broken", ["recado.events", "dbos.workflow_status", "recado.messages", "recado.turns"])
async def test_all_of_a_turn_is_stored_or_nothing(database_url: str, tmp_path: Path, broken: str) -> None:
    async with open_front(database_url, tmp_path) as front:
        conversation_id = await say(front)
        run(
            front,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$;"
            f"CREATE TRIGGER refuse BEFORE INSERT ON {broken} EXECUTE FUNCTION refuse()",
        )
        await turn(front, desk_of(front, Mind()), conversation_id)
        question = front.stored()[0]
        assert (question["status"], question["held_for"], question["turn_id"]) == ("held", "broken", None)
        assert "Olá!" not in replies(front)
        assert len(deliveries(front)) == len(replies(front)) <= 1
        assert front.rows("SELECT FROM turns WHERE outcome <> 'apology'") == []
        assert front.rows("SELECT FROM events WHERE step = 'answer' AND what <> 'broken'") == []


async def test_a_turn_that_is_run_again_answers_nothing_twice(front: Front) -> None:
    mind = Mind()
    conversation_id = await say(front)
    for _ in range(3):
        await turn(front, desk_of(front, mind), conversation_id)
    assert replies(front) == ["Olá!"]
    assert len(mind.shown) == 1


async def test_two_executors_that_both_think_a_turn_theirs_answer_once(front: Front) -> None:
    conversation_id = await say(front)

    async def wait() -> None:
        await asyncio.sleep(0.2)

    async def one() -> None:
        with suppress(Later):  # it sees that the message is in hand: it gives way, as after a death
            await turn(front, desk, conversation_id)

    desk = desk_of(front, Mind(meanwhile=wait))
    await asyncio.gather(*(one() for _ in range(3)))
    assert replies(front) == ["Olá!"]
    assert len(deliveries(front)) == 1


async def test_a_crash_after_the_model_answered_does_not_ask_it_again_nor_claim_what_it_never_saw(
    front: Front,
) -> None:
    mind, stored = Mind("para a primeira"), dict[str, dict[str, Any]]()

    async def dies(name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        stored[name] = await work()
        raise ProcessDied

    async def replays(name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        return stored.pop(name) if name in stored else await work()

    conversation_id = await say(front, "primeira")
    desk = desk_of(front, mind)
    with pytest.raises(ProcessDied):
        await turn(front, replace(desk, step=dies), conversation_id)
    assert replies(front) == []
    await say(front, "segunda")
    mind.says = "para as duas"
    await turn(front, replace(desk, step=replays), conversation_id)
    assert mind.shown == [["primeira"], ["primeira", "segunda"]]
    assert replies(front) == ["para as duas"], "the stored answer was for the first alone: stale"
    assert all(row["status"] == "answered" for row in front.stored() if row["direction"] == "inbound")


async def test_a_conversation_given_to_people_while_the_model_thinks_is_not_answered(front: Front) -> None:
    async def hand_over() -> None:
        await asyncio.to_thread(run, front, "UPDATE conversations SET status = 'handoff'")

    await turn(front, desk_of(front, Mind(meanwhile=hand_over)), await say(front))
    assert replies(front) == []
    assert [(row["status"], row["held_for"]) for row in front.stored()] == [("held", "people")]


async def test_what_comes_while_the_owner_is_suspended_is_held_for_that(front: Front) -> None:
    run(front, "UPDATE owners SET status = 'suspended'")
    await turn(front, desk_of(front, Mind()), await say(front))
    assert [(row["status"], row["held_for"]) for row in front.stored()] == [("held", "owner")]


async def test_the_last_round_sends_its_reply_and_leaves_what_came_meanwhile_to_the_next_turn(front: Front) -> None:
    count = 0

    async def talk_on() -> None:
        nonlocal count
        count += 1
        await say(front, f"mais {count}")

    mind = Mind(meanwhile=talk_on)
    await turn(front, desk_of(front, mind), await say(front))
    assert [len(pending) for pending in mind.shown] == [1, 2, 3]
    assert replies(front) == ["Olá!"]
    assert [row["status"] for row in front.stored() if row["direction"] == "inbound"] == ["answered"] * 3 + ["received"]


@pytest.mark.parametrize("failure", [RecadoError("the model is away"), RecadoError("")])
async def test_a_model_that_fails_never_means_silence(front: Front, failure: RecadoError) -> None:
    await turn(front, desk_of(front, Mind(failure)), await say(front, "Vocês vendem pneus?"))
    assert len(replies(front)) == 1
    (conversation,) = front.rows("SELECT attention FROM conversations")
    assert conversation["attention"] == "failed"


async def test_a_fault_of_ours_in_thinking_never_means_silence_either(front: Front) -> None:
    async def fault() -> None:
        raise ZeroDivisionError

    await turn(front, desk_of(front, Mind(meanwhile=fault)), await say(front))
    assert len(replies(front)) == 1
    (made,) = front.rows("SELECT error FROM turns")
    assert made["error"] == "ZeroDivisionError"
