"""`GET /v1/metrics`: an owner's own, and nobody else's."""

from __future__ import annotations

from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families

from recado.conversations import turns
from recado.conversations.turns import Turn
from recado.db.scope import scoped
from recado.identity import plans
from recado.ids import new_id
from tests.api.programs import Office, Program


async def read(program: Program) -> dict[tuple[str, str], float]:
    """The page's values by metric and labels, these as they stand there."""
    answer = await program.ask("GET", "/v1/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def add_turn(office: Office, *, turn_id: UUID) -> None:
    now = office.front.wiring.clock.now()
    async with scoped(office.front.wiring.pool, office.front.owner_id) as scope:
        await turns.add(
            scope,
            Turn(
                id=turn_id,
                conversation_id=office.conversation_id,
                correlation_id=turn_id,
                model="openai:gpt-5-mini",
                outcome="answered",
                rounds=1,
                input_tokens=900,
                output_tokens=80,
                cost_micros=1_500_000,
                error=None,
                started_at=now,
                finished_at=now,
            ),
        )
        await plans.meter_turn(scope, tokens=980, money=1_500_000, unpriced=None, now=now)


async def test_an_owner_reads_what_waits_what_was_used_and_what_the_last_hour_came_to(office: Office) -> None:
    await add_turn(office, turn_id=new_id())
    found = await read(await office.program("read"))
    assert found["recado_owner_waiting", "inbound"] == 1
    assert found["recado_owner_oldest_seconds", "inbound"] >= 0
    assert found["recado_owner_used", "model_tokens"] == 980
    assert found["recado_owner_turns_last_hour", "answered"] == 1
    assert found["recado_owner_model_tokens_last_hour", "openai:gpt-5-mini,input"] == 900
    assert found["recado_owner_model_cost_usd_last_hour", "openai:gpt-5-mini"] == 1.5
    assert found["recado_owner_messages_last_hour", "inbound,received"] == 1
    assert not any(name == "recado_owner_limit" for name, _ in found)


async def test_an_owner_sees_nothing_of_another(office: Office) -> None:
    await add_turn(office, turn_id=new_id())
    assert (await read(await office.program("read")))["recado_owner_turns_last_hour", "answered"] == 1
    found = await read(await office.stranger())
    assert sum(value for (name, _), value in found.items() if name != "recado_owner_used") == 0
    assert not any(name == "recado_owner_turns_last_hour" for name, _ in found)


async def test_nobody_reads_them_without_the_scope(office: Office) -> None:
    for program, status in ((Program(office.front, None), 401), (await office.program("webhooks"), 403)):
        assert (await program.ask("GET", "/v1/metrics")).status_code == status


async def test_what_an_owner_asks_again_at_once_is_not_counted_again(office: Office) -> None:
    program = await office.program("read")
    before = await read(program)
    await add_turn(office, turn_id=new_id())
    assert await read(program) == before


async def test_what_people_wrote_and_who_they_are_is_not_on_the_page(office: Office) -> None:
    answer = await (await office.program("read")).ask("GET", "/v1/metrics")
    contact = office.front.rows("SELECT identity_key, address, profile_name FROM contacts")[0]
    assert not any(str(value) in answer.text for value in contact.values() if value)
    assert str(office.front.owner_id) not in answer.text
