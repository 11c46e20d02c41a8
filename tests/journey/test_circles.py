"""Machines that answer each other without end are left to people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from recado.db.scope import scoped
from recado.journey.answer import caution
from recado.journey.answer.caution import IN_CIRCLES, SAME_WORDS
from recado.journey.answer.desk import AnswerDesk
from recado.journey.answer.turn import process_ai_response
from recado.settings import load
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, desk_of, replies, run, say, turn
from tests.product import establish

OTHER_SID = "AC" + "e" * 32


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


def held(front: Front) -> list[str | None]:
    return [row["held_for"] for row in front.stored() if row["direction"] == "inbound"]


async def exchange(front: Front, desk: AnswerDesk, words: str) -> UUID:
    """The contact says so, and its turn is made."""
    conversation_id = await say(front, words)
    await turn_of_last(front, desk, conversation_id)
    return conversation_id


async def turn_of_last(front: Front, desk: AnswerDesk, conversation_id: UUID) -> None:
    last = [row for row in front.stored() if row["direction"] == "inbound"][-1]
    await process_ai_response(desk, front.owner_id, conversation_id, last["id"], arrived_at=front.wiring.clock.now())


@pytest.mark.parametrize(
    ("number", "sender"),
    [
        ("whatsapp:+14155550199", "whatsapp:+14155550199"),
        ("whatsapp:+551187654321", "whatsapp:+5511987654321"),
        ("whatsapp:+5511987654321", "whatsapp:+551187654321"),
        ("whatsapp:+5491123456789", "whatsapp:+541123456789"),
        ("whatsapp:+525512345678", "whatsapp:+5215512345678"),
    ],
)
async def test_what_another_number_of_this_installation_says_is_kept_and_not_answered(
    front: Front, number: str, sender: str
) -> None:
    await establish(front.wiring, OTHER_SID, "t" * 32, number)
    mind = Mind()
    arrival = await front.arrival("Olá! Como posso ajudar?", From=sender, WaId=sender.removeprefix("whatsapp:+"))
    await front.accept(arrival)
    await turn(front, desk_of(front, mind), front.stored()[0]["conversation_id"])
    assert (held(front), replies(front), mind.shown) == (["loop"], [], [])
    assert front.rows("SELECT status, attention FROM conversations") == [{"status": "open", "attention": "loop"}]
    (event,) = front.rows("SELECT what, data FROM events WHERE step = 'answer'")
    assert event == {"what": "loop", "data": {"why": "own_number", "messages": 1}}


async def test_a_conversation_with_too_many_turns_an_hour_goes_to_people_who_may_give_it_back(front: Front) -> None:
    mind = Mind()
    desk = replace(desk_of(front, mind), turns_per_hour=3)
    for number in range(6):
        await exchange(front, desk, f"resposta automática {number}")
    assert replies(front) == ["Olá!"] * 3 + [IN_CIRCLES["pt"]], "said once: it may be answered as well"
    assert held(front) == [None] * 3 + ["loop", "people", "people"]
    assert len(mind.shown) == 3
    assert front.rows("SELECT status, attention FROM conversations") == [{"status": "handoff", "attention": "loop"}]
    assert front.rows("SELECT error FROM turns WHERE error IS NOT NULL") == [{"error": "loop: turns"}]

    run(front, "UPDATE conversations SET status = 'open', attention = NULL")
    await exchange(front, desk, "sou eu, a Ana")
    assert replies(front)[-1] == "Olá!", "it is counted anew"


async def test_of_two_bots_that_never_repeat_themselves_the_sixty_first_turn_of_an_hour_goes_to_people(
    front: Front,
) -> None:
    mind = Mind()
    desk = replace(desk_of(front, mind), turns_per_hour=load().turns_per_hour)
    conversation_id = await exchange(front, desk, "resposta automática 1")
    run(
        front,
        # Each turn of the hour before: what the bot said, and the answer.
        "INSERT INTO turns SELECT (jsonb_populate_record(t, jsonb_build_object('id', md5(n::text)::uuid))).* "
        "FROM turns t, generate_series(2, 59) n;"
        "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, turn_id, "
        "correlation_id, received_at) "
        "SELECT m.owner_id, uuid_floor(now() - n * interval '50 s' - side * interval '1 s'), m.conversation_id, "
        "m.account_id, CASE side WHEN 1 THEN 'inbound' ELSE 'outbound' END, "
        "CASE side WHEN 1 THEN 'contact' ELSE 'assistant' END, 'palavras ' || n, "
        "CASE side WHEN 1 THEN 'answered' ELSE 'read' END, md5(n::text)::uuid, gen_random_uuid(), "
        "now() - n * interval '50 s' FROM generate_series(2, 59) n, generate_series(0, 1) side, "
        "(SELECT * FROM messages WHERE direction = 'inbound' LIMIT 1) m",
    )
    await exchange(front, desk, "resposta automática 60")
    assert len(mind.shown) == 2, "the sixtieth is answered"
    await exchange(front, desk, "resposta automática 61")
    assert len(mind.shown) == 2
    assert replies(front)[-1] == IN_CIRCLES["pt"]
    (conversation,) = front.rows("SELECT status, attention FROM conversations WHERE id = %s", conversation_id)
    assert conversation == {"status": "handoff", "attention": "loop"}


async def test_without_a_bound_and_with_new_words_a_long_conversation_is_answered(front: Front) -> None:
    desk = replace(desk_of(front, Mind()), turns_per_hour=0)
    for number in range(9):
        await exchange(front, desk, f"pergunta {number}")
    assert held(front) == [None] * 9


async def test_the_same_words_again_and_again_go_to_people(front: Front) -> None:
    desk = desk_of(front, Mind())
    said = ["Não entendi.", " não  ENTENDI. "] * SAME_WORDS
    for words in said[: SAME_WORDS - 1]:
        await exchange(front, desk, words)
    await exchange(front, desk, "Que horas abre?")
    for words in said[: SAME_WORDS + 2]:
        await exchange(front, desk, words)
    assert held(front)[: SAME_WORDS * 2 - 1] == [None] * (SAME_WORDS * 2 - 1), "not in a row yet"
    assert held(front)[SAME_WORDS * 2 - 1 :] == ["loop", "people", "people"]
    assert replies(front)[-1] == IN_CIRCLES["pt"]
    assert replies(front).count(IN_CIRCLES["pt"]) == 1


async def test_words_sent_again_before_they_were_answered_are_no_loop(front: Front) -> None:
    for _ in range(2 * SAME_WORDS):
        conversation_id = await say(front, "oi")
    await turn_of_last(front, desk_of(front, Mind()), conversation_id)
    conversation_id = await say(front, "oi")
    await turn_of_last(front, desk_of(front, Mind()), conversation_id)
    assert set(held(front)) == {None}


async def test_looking_for_circles_does_not_read_more_in_a_long_conversation(front: Front) -> None:
    conversation_id = await say(front)
    query = """
        SET session_replication_role = replica;  -- no turn is there for them
        INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, status,
                              correlation_id, received_at, turn_id)
        SELECT owner_id, gen_random_uuid(), conversation_id, account_id, 'outbound', 'assistant', 'text', 'x', 'sent',
               correlation_id, received_at, gen_random_uuid()
        FROM messages, generate_series(1, 3000) n WHERE direction = 'inbound'
    """
    run(front, query)
    run(front, "ANALYZE messages")
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await scope.conn.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        given = {
            "owner": front.owner_id,
            "conversation": conversation_id,
            "heard": [],
            "since": front.wiring.clock.now() - caution.WITHIN,
            "most": 12 * 3,
            "same": SAME_WORDS - 1,
            "kinds": ["text"],
        }
        cursor = await scope.conn.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + caution._LATELY, given)
        (row,) = await cursor.fetchall()

    def most_rows(plan: dict) -> float:  # type: ignore[type-arg]
        own = plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
        return max([own, *(most_rows(inner) for inner in plan.get("Plans", []))])

    assert most_rows(row["QUERY PLAN"][0]["Plan"]) <= 50
