"""answer, when it breaks: one apology, people are asked, and what broke it is not given again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recado.assistants.keyless import PERSON
from recado.conversations import messages
from recado.db.pool import PASSING
from recado.db.scope import scoped
from recado.journey.answer.desk import EngineFailed
from recado.journey.pause import Later
from recado.journey.suspects import CALM_S, HEAD_START_S, Suspects, is_broken, put_back
from tests.clock import TestClock
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, ProcessDied, deliveries, desk_of, replies, run, say, turn

SECRET = "cartao 4111111111111111"
#: When workers died whose deaths are no longer news.
CALM = f"now() - interval '{CALM_S + 5} seconds'"


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


def raises(error: BaseException) -> Callable[[str, Callable[[], Awaitable[dict[str, Any]]]], Awaitable[dict[str, Any]]]:
    async def step(_name: str, _work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        raise error

    return step


def questions(front: Front) -> list[dict[str, Any]]:
    return [row for row in front.stored() if row["direction"] == "inbound"]


def attention(front: Front) -> str | None:
    (row,) = front.rows("SELECT attention FROM conversations")
    found: str | None = row["attention"]
    return found


async def test_a_turn_that_fails_ends_in_one_apology_and_people_are_asked(
    front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation_id = await say(front)
    broken = replace(desk_of(front, Mind()), step=raises(RuntimeError(SECRET)))
    await turn(front, broken, conversation_id)
    (question,) = questions(front)
    assert (question["status"], question["held_for"], question["starts"]) == ("held", "broken", 0)
    assert replies(front) == [PERSON["pt"]]
    assert len(deliveries(front)) == 1
    assert attention(front) == "broken"
    (event,) = front.rows("SELECT what, data FROM events WHERE step = 'answer'")
    assert event == {"what": "broken", "data": {"why": "RuntimeError", "messages": 1}}
    assert front.rows("SELECT outcome, error FROM turns") == [{"outcome": "apology", "error": "broken: RuntimeError"}]
    assert SECRET not in capsys.readouterr().err

    await turn(front, broken, conversation_id)
    assert len(replies(front)) == 1, "given again it finds nothing to do"
    await say(front, "E agora?")
    await turn(front, broken, conversation_id)
    assert [row["held_for"] for row in questions(front)] == ["broken", "broken"]
    assert len(replies(front)) == 1, "the contact knows"


@pytest.mark.parametrize(
    "trouble",
    [
        "REVOKE SELECT ON assistants FROM recado_app",  # drafting, and the apology's own words
        "REVOKE INSERT ON turns FROM recado_app",  # storing, and the record of having failed
        "REVOKE SELECT ON media FROM recado_app",
    ],
)
async def test_whatever_a_turn_can_not_do_the_contact_hears_an_apology(
    database_url: str, tmp_path: Path, trouble: str
) -> None:
    async with open_front(database_url, tmp_path) as front:
        conversation_id = await say(front)
        run(front, trouble)
        await turn(front, desk_of(front, Mind("NUNCA")), conversation_id)
        assert [row["held_for"] for row in questions(front)] == ["broken"]
        assert len(replies(front)) == 1
        assert "NUNCA" not in replies(front)
        assert attention(front) == "broken"


async def test_what_the_model_cost_is_metered_though_its_answer_could_not_be_stored(
    database_url: str, tmp_path: Path
) -> None:
    async with open_front(database_url, tmp_path) as front:
        conversation_id = await say(front)
        run(
            front,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.author = 'assistant') "
            "EXECUTE FUNCTION refuse()",
        )
        await turn(front, desk_of(front, Mind()), conversation_id)
        assert front.rows("SELECT input_tokens, output_tokens FROM turns") == [{"input_tokens": 11, "output_tokens": 7}]
        assert front.rows("SELECT amount::int FROM usage WHERE metric = 'model_tokens'") == [{"amount": 18}]


async def test_a_message_is_counted_while_its_turn_goes_on_and_not_after(front: Front) -> None:
    seen: list[int] = []

    async def look() -> None:
        seen.extend(row["starts"] for row in await asyncio.to_thread(questions, front))

    await turn(front, desk_of(front, Mind(meanwhile=look)), await say(front))
    assert (seen, [row["starts"] for row in questions(front)]) == ([1], [0])


@pytest.mark.parametrize(
    "end", [ProcessDied(), asyncio.CancelledError(), EngineFailed("OperationalError"), psycopg.OperationalError("away")]
)
async def test_an_end_that_says_nothing_of_the_turn_is_not_counted(front: Front, end: BaseException) -> None:
    conversation_id = await say(front)
    for _ in range(3):
        with pytest.raises(type(end)):
            await turn(front, replace(desk_of(front, Mind()), step=raises(end)), conversation_id)
    assert [(row["status"], row["starts"]) for row in questions(front)] == [("received", 0)]
    assert replies(front) == []


async def test_what_was_in_hand_at_a_death_is_counted_up_once_its_head_start_has_come(front: Front) -> None:
    conversation_id = await say(front)
    run(front, "UPDATE messages SET starts = 1, begun_at = now()")
    seen: list[int] = []

    async def look() -> None:
        seen.extend(row["starts"] for row in await asyncio.to_thread(questions, front))

    class Waits:
        @asynccontextmanager
        async def alone(self) -> AsyncIterator[None]:
            await look()
            yield

    waits: Any = Waits()
    await turn(front, replace(desk_of(front, Mind(meanwhile=look)), suspects=waits), conversation_id)
    assert seen == [1, 2]


async def test_what_was_in_hand_when_its_worker_died_twice_is_held_and_the_rest_goes_on(front: Front) -> None:
    mind = Mind()
    conversation_id = await say(front, "veneno")
    run(
        front,
        "UPDATE messages SET starts = 2, begun_at = now();"
        f"INSERT INTO executor_deaths (executor_id, at) VALUES ('a', {CALM}), ('b', {CALM})",
    )
    await say(front, "Abre hoje?")
    await turn(front, desk_of(front, mind), conversation_id)
    assert mind.shown == [["Abre hoje?"]]
    assert [(row["status"], row["held_for"]) for row in questions(front)] == [("held", "broken"), ("answered", None)]
    assert replies(front) == [PERSON["pt"], "Olá!"]
    assert front.rows("SELECT data FROM events WHERE what = 'broken'") == [{"data": {"why": "died", "messages": 1}}]

    async with scoped(front.wiring.pool, front.owner_id) as scope:
        before = await messages.history(scope, conversation_id)
        written = await messages.written(scope, conversation_id)
    assert "veneno" not in [line.body for line in before]
    assert written == ["Abre hoje?"]


async def test_nothing_is_blamed_while_workers_go_on_dying(front: Front) -> None:
    # Whoever kills workers one after the other has two deaths that one message was in hand at, before there are more.
    conversation_id = await say(front)
    run(
        front,
        "UPDATE messages SET starts = 2, begun_at = now();"
        f"INSERT INTO executor_deaths (executor_id, at) VALUES ('a', {CALM}), ('b', now())",
    )
    with pytest.raises(Later):
        await turn(front, desk_of(front, Mind()), conversation_id)
    assert [(row["status"], row["starts"]) for row in questions(front)] == [("received", 2)]
    run(front, "INSERT INTO executor_deaths (executor_id) VALUES ('c')")
    await turn(front, desk_of(front, Mind()), conversation_id)
    assert replies(front) == ["Olá!"]


async def test_where_other_workers_die_too_it_is_given_again_but_not_for_ever(front: Front) -> None:
    conversation_id = await say(front)
    run(
        front,
        "UPDATE messages SET starts = 3, begun_at = now();"
        f"INSERT INTO executor_deaths (executor_id, at) SELECT n::text, {CALM} FROM generate_series(1, 9) n",
    )
    await turn(front, desk_of(front, Mind()), conversation_id)
    assert replies(front) == ["Olá!"]
    await say(front)
    run(front, "UPDATE messages SET starts = 4, begun_at = now() WHERE status = 'received'")
    await turn(front, desk_of(front, Mind()), conversation_id)
    assert [row["held_for"] for row in questions(front)] == [None, "broken"]


def test_two_deaths_are_a_messages_doing_where_there_were_no_others() -> None:
    verdicts = {(starts, deaths): is_broken(starts, deaths) for starts in range(5) for deaths in (0, 2, 3, 9)}
    assert [key for key, broken in verdicts.items() if broken] == [
        (2, 0), (2, 2), (3, 0), (3, 2), (3, 3), (4, 0), (4, 2), (4, 3), (4, 9),
    ]  # fmt: skip


async def test_who_gives_a_turn_back_takes_nothing_from_what_another_worker_has_counted_since(front: Front) -> None:
    await say(front)
    ((message_id,),) = [tuple(row.values()) for row in front.rows("SELECT id FROM messages")]
    run(front, "UPDATE messages SET starts = 2, begun_at = now()")
    await put_back(front.wiring.pool, front.owner_id, {message_id: 1}, step="answer")
    assert questions(front)[0]["starts"] == 2
    await put_back(front.wiring.pool, front.owner_id, {message_id: 2}, step="answer")
    assert questions(front)[0]["starts"] == 1


async def test_a_transaction_that_lay_idle_for_too_long_may_be_tried_again(front: Front) -> None:
    async def lie_idle() -> None:
        async with scoped(front.wiring.pool, front.owner_id) as scope, asyncio.timeout(30):
            await scope.conn.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            while True:
                await asyncio.sleep(0.2)
                await scope.conn.execute("SELECT")

    with pytest.raises(PASSING):
        await lie_idle()


async def test_suspects_begin_one_after_the_other_and_none_keeps_its_slot_meanwhile() -> None:
    clock = TestClock()
    suspects = Suspects(clock)
    waits = []
    async with suspects.alone():
        for _ in range(3):
            with pytest.raises(Later) as later:
                async with suspects.alone():
                    pass
            waits.append(later.value.wait_s)
        assert waits == [HEAD_START_S, 2 * HEAD_START_S, 3 * HEAD_START_S]
        clock.advance(seconds=HEAD_START_S)
        async with suspects.alone():  # the second, when it is due
            clock.advance(seconds=0.1)
            with pytest.raises(Later):  # the third, who came too early
                async with suspects.alone():
                    pass
        async with suspects.alone():  # whoever comes when the one before has ended
            pass


async def test_the_rest_of_a_head_start_is_waited_for() -> None:
    clock = TestClock()
    suspects = Suspects(clock)
    begun = []

    async def begins() -> None:
        async with suspects.alone():
            begun.append(clock.monotonic())

    async with suspects.alone():
        clock.advance(seconds=HEAD_START_S - 0.05)
        second = asyncio.create_task(begins())
        await clock.asleep()
        clock.advance(seconds=0.04)
        await asyncio.sleep(0)
        assert begun == []
        clock.advance(seconds=0.02)
        await second
    assert begun == [pytest.approx(HEAD_START_S + 0.01)]
