"""Plans: usage is counted with the work, exactly, by month; limits warn once and then change who answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recado.assistants import prices
from recado.assistants.failures import Tokens
from recado.assistants.run import ModelFailed
from recado.conversations import parts
from recado.db.pool import Connection
from recado.db.scope import scoped
from recado.errors import NotFound, UsageError
from recado.identity import owners, plans
from recado.identity.plans import LIMITED
from tests.journey.conftest import front_url as front_url
from tests.journey.front import Front, open_front
from tests.journey.test_answer import Mind, desk_of, replies, run, say, turn

EDGE = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def platform(front: Front) -> AsyncIterator[Connection]:
    async with await front.wiring.connect("recado_platform") as conn:
        yield conn


async def on_plan(front: Front, platform: Connection, **limits: Any) -> None:
    await plans.add(platform, "small", **limits)
    await plans.assign(platform, front.owner_id, "small")


async def used(front: Front, period: date) -> dict[str, int]:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        return {item.metric: item.amount for item in await plans.usage(scope, period)}


async def stands(front: Front, now: datetime) -> str:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        return await plans.state(scope, now)


def budget_events(front: Front) -> list[dict[str, Any]]:
    query = "SELECT what, data FROM events WHERE what IN ('budget_soft', 'price_unknown') ORDER BY id"
    return [{"what": row["what"], **row["data"]} for row in front.rows(query)]


async def count(front: Front, metric: Any, amount: int, now: datetime, *, owner_id: UUID | None = None) -> None:
    async with scoped(front.wiring.pool, owner_id or front.owner_id) as scope:
        await plans.meter(scope, metric, amount, now=now)


def test_a_period_is_the_month_in_utc() -> None:
    assert plans.period_of(EDGE - timedelta(microseconds=1)) == date(2026, 12, 1)
    assert plans.period_of(EDGE) == date(2027, 1, 1)
    assert plans.period_of(datetime.fromisoformat("2026-12-31T22:30:00-03:00")) == date(2027, 1, 1)


WORK = st.tuples(
    st.sampled_from(LIMITED), st.integers(0, 10**6), st.integers(-2_000_000, 2_000_000), st.sampled_from([0, 0, 0, 1])
)


@given(st.lists(WORK, max_size=24))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_counting_is_exact_under_concurrency_across_the_edge_of_a_month_and_undone_with_the_work(
    front: Front, work: list[tuple[Any, int, int, int]]
) -> None:
    expected: dict[tuple[date, str], int] = {}
    run(front, "TRUNCATE usage")

    async def one(metric: Any, amount: int, offset_us: int, fails: int) -> None:
        with suppress(ZeroDivisionError):
            async with scoped(front.wiring.pool, front.owner_id) as scope:
                await plans.meter(scope, metric, amount, now=EDGE + timedelta(microseconds=offset_us))
                _ = 1 / (1 - fails)
        if amount and not fails:
            key = (date(2027, 1, 1) if offset_us >= 0 else date(2026, 12, 1), metric)
            expected[key] = expected.get(key, 0) + amount

    await asyncio.gather(*(one(*item) for item in work))
    rows = front.rows("SELECT period, metric, amount FROM usage")
    assert {(row["period"], row["metric"]): row["amount"] for row in rows} == expected


async def test_the_soft_share_warns_once_a_period_and_metric_however_many_reach_it_at_once(
    front: Front, platform: Connection
) -> None:
    await on_plan(front, platform, messages=10, model_tokens=100, soft_share=0.5)
    await asyncio.gather(*(count(front, "messages", 1, EDGE) for _ in range(20)))
    await count(front, "model_tokens", 49, EDGE)
    assert [(event["metric"], event["amount"]) for event in budget_events(front)] == [("messages", 5)]
    await count(front, "messages", 9, EDGE + timedelta(days=40))
    assert [event["period"] for event in budget_events(front)] == ["2027-01-01", "2027-02-01"]


async def test_where_an_owner_stands_follows_its_plan_and_the_month(front: Front, platform: Connection) -> None:
    await count(front, "money", 10**9, EDGE)
    assert await stands(front, EDGE) == "ok"
    await on_plan(front, platform, money=10**9 + 1)
    assert await stands(front, EDGE) == "soft"
    await count(front, "money", 1, EDGE)
    assert await stands(front, EDGE) == "hard"
    assert await stands(front, EDGE - timedelta(microseconds=1)) == "ok"
    await on_plan(front, platform, money=10**12)
    assert await stands(front, EDGE) == "ok"
    await on_plan(front, platform, transcription_seconds=0)
    assert await stands(front, EDGE) == "hard"


async def test_an_owner_sees_and_counts_its_own_usage_only(front: Front, platform: Connection) -> None:
    other = await owners.add(platform, "Other")
    await count(front, "messages", 3, EDGE)
    await count(front, "messages", 4, EDGE, owner_id=other.id)
    assert await used(front, date(2027, 1, 1)) == {"messages": 3}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            await scope.conn.execute("SELECT meter(%s, 'messages', 1, now())", [other.id])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            await scope.conn.execute("UPDATE owners SET plan_id = NULL")
    everyone = await plans.usage(platform, date(2027, 1, 1))
    assert {(item.owner_id, item.amount) for item in everyone} == {(front.owner_id, 3), (other.id, 4)}


async def test_a_turn_counts_its_models_tokens_and_money_with_the_reply(front: Front) -> None:
    desk = desk_of(front, Mind(model="openai:gpt-5-mini"))
    await turn(front, desk, await say(front))
    (made,) = front.rows("SELECT cost_micros FROM turns")
    cost = prices.cost_micros("openai:gpt-5-mini", input_tokens=11, output_tokens=7, at=EDGE)
    assert cost
    assert made["cost_micros"] == cost
    assert await used(front, plans.period_of(front.wiring.clock.now())) == {"model_tokens": 18, "money": cost}


async def test_a_draft_that_went_stale_has_cost_its_tokens_too(front: Front) -> None:
    mind = Mind(model="openai:gpt-5-mini")

    async def meanwhile() -> None:
        mind.meanwhile = None
        await say(front, "Mais uma coisa")

    mind.meanwhile = meanwhile
    await turn(front, desk_of(front, mind), await say(front))
    (made,) = front.rows("SELECT rounds, input_tokens, output_tokens FROM turns")
    assert made == {"rounds": 2, "input_tokens": 22, "output_tokens": 14}
    assert (await used(front, plans.period_of(front.wiring.clock.now())))["model_tokens"] == 36


async def test_a_model_without_a_price_costs_nothing_and_an_event_says_so_once_for_each(front: Front) -> None:
    for words, model in (("um", "nobodys"), ("dois", "nobodys"), ("três", "anybodys"), ("quatro", "nobodys")):
        conversation = await say(front, words)
        last = front.stored()[-1]["id"]
        from recado.journey.answer.turn import process_ai_response

        desk = desk_of(front, Mind(model=model))
        now = front.wiring.clock.now()
        await process_ai_response(desk, front.owner_id, conversation, last, arrived_at=now)
    assert await used(front, plans.period_of(front.wiring.clock.now())) == {"model_tokens": 72, "unpriced_tokens": 72}
    told = [(event["what"], event["model"]) for event in budget_events(front)]
    assert told == [("price_unknown", "nobodys"), ("price_unknown", "anybodys")]


async def test_a_model_that_answers_nothing_is_counted_all_the_same(front: Front) -> None:
    used_up = Tokens(input_tokens=31, output_tokens=5)
    mind = Mind(ModelFailed("empty_answer", attempts=1, used=used_up))
    await turn(front, replace(desk_of(front, mind), default_model="openai:gpt-5-mini"), await say(front))
    assert await used(front, plans.period_of(front.wiring.clock.now())) == {"model_tokens": 36, "money": 18}
    assert front.rows("SELECT outcome, input_tokens, output_tokens FROM turns") == [
        {"outcome": "keyless", "input_tokens": 31, "output_tokens": 5}
    ]


async def test_what_was_thought_before_the_contact_opted_out_is_counted(front: Front) -> None:
    async def opt_out() -> None:
        await say(front, "SAIR")

    mind = Mind(meanwhile=opt_out)
    await turn(front, desk_of(front, mind), await say(front))
    assert replies(front) == []
    assert (await used(front, plans.period_of(front.wiring.clock.now())))["model_tokens"] == 18


@pytest.mark.parametrize("hard_action", ["keyless", "people"])
@pytest.mark.parametrize("model", ["openai:ft-nobody-prices", "ollama:llama3"])
async def test_under_a_limit_in_money_an_owner_can_not_choose_a_model_without_a_price(
    front: Front, platform: Connection, model: str, hard_action: Any
) -> None:
    await on_plan(front, platform, money=10**6, hard_action=hard_action)
    conversation = await say(front, "Oi")
    mind = Mind()
    run(front, f"UPDATE assistants SET model = '{model}'")
    await turn(front, desk_of(front, mind), conversation)
    assert mind.shown == []
    assert front.rows("SELECT outcome, error FROM turns") == [{"outcome": "keyless", "error": "model without a price"}]


@pytest.mark.parametrize("chosen", ["openai:gpt-5-mini", None])
async def test_under_a_limit_in_money_a_priced_model_and_the_installations_own_are_asked(
    front: Front, platform: Connection, chosen: str | None
) -> None:
    await on_plan(front, platform, money=10**6)
    conversation = await say(front, "Oi")
    mind = Mind()
    run(front, f"UPDATE assistants SET model = {'NULL' if chosen is None else repr(chosen)}")
    await turn(front, desk_of(front, mind), conversation)
    assert mind.shown == [["Oi"]]


async def test_over_its_limit_an_owners_model_is_not_asked_and_the_keyless_assistant_answers(
    front: Front, platform: Connection
) -> None:
    await on_plan(front, platform, model_tokens=18)
    mind = Mind()
    conversation = await say(front, "Oi")
    await count(front, "model_tokens", 18, front.wiring.clock.now())
    await turn(front, desk_of(front, mind), conversation)
    assert mind.shown == []
    assert len(replies(front)) == 1
    assert front.rows("SELECT outcome, error FROM turns") == [{"outcome": "keyless", "error": "over budget"}]


async def test_over_its_limit_an_owners_conversations_wait_for_people_and_the_contact_is_told_once_a_period(
    front: Front, platform: Connection
) -> None:
    from recado.journey.answer.turn import process_ai_response

    await on_plan(front, platform, messages=0, hard_action="people")
    mind = Mind()
    for words in ("Oi", "Tem alguém aí?"):
        conversation = await say(front, words)
        last, now = front.stored()[-1]["id"], front.wiring.clock.now()
        await process_ai_response(desk_of(front, mind), front.owner_id, conversation, last, arrived_at=now)
    assert mind.shown == []
    assert len(replies(front)) == 1
    assert [row["held_for"] for row in front.stored() if row["direction"] == "inbound"] == ["budget", "budget"]
    assert front.rows("SELECT attention FROM conversations") == [{"attention": "budget"}]
    run(front, "UPDATE conversations SET budget_told = budget_told - interval '1 month'")
    conversation = await say(front, "E hoje?")
    inbound = [row for row in front.stored() if row["status"] == "received"]
    await process_ai_response(
        desk_of(front, mind), front.owner_id, conversation, inbound[0]["id"], arrived_at=front.wiring.clock.now()
    )
    assert len(replies(front)) == 2


@pytest.mark.parametrize("times", [1, 3])
async def test_a_part_that_twilio_has_is_one_message_however_often_that_is_told(front: Front, times: int) -> None:
    await turn(front, desk_of(front, Mind()), await say(front))
    answer_id = next(row["id"] for row in front.stored() if row["direction"] == "outbound")
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await parts.plan(scope, answer_id, ["um", "dois"])
    for status in ("queued", "sent", "delivered")[:times]:
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            for part in (1, 2):
                sid = f"SM{part}" + "0" * 31
                await parts.move_status(scope, message_id=answer_id, part=part, sid=sid, status=status, error_code=None)
    assert (await used(front, plans.period_of(front.wiring.clock.now())))["messages"] == 2


async def test_what_can_not_be_a_plan_is_refused_and_a_plan_of_the_same_name_is_changed(platform: Connection) -> None:
    for wrong in ({"messages": -1}, {"soft_share": 0.0}, {"soft_share": 1.1}, {"money": 2**63}):
        with pytest.raises(UsageError):
            await plans.add(platform, "small", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        await plans.add(platform, "  ")
    before = await plans.add(platform, "small", messages=1)
    after = await plans.add(platform, " small ", messages=2)
    assert (before.id, after.messages) == (after.id, 2)
    with pytest.raises(NotFound, match="no plan"):
        await plans.assign(platform, UUID(int=1), "none")
    with pytest.raises(NotFound, match="no owner"):
        await plans.assign(platform, UUID(int=1), "small")


def test_prices_are_known_by_provider_and_never_guessed() -> None:
    def price(model: str) -> int | None:
        return prices.cost_micros(model, input_tokens=1_000_000, output_tokens=1_000_000, at=EDGE)

    assert price("openai:gpt-5-mini") == 2_250_000
    assert price("openai-responses:gpt-5-mini") == 2_250_000
    assert price("google-gla:gemini-2.5-flash")
    assert [price(model) for model in ("ollama:llama3", "openai:mine", "gpt-5-mini", "test")] == [None] * 4
