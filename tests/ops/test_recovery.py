"""Recovery: what was accepted and has no work gets some; what can't be done is shown, not tried for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.channels.port import ErrorClass, Receipt, Sender, SendError
from recado.conversations import messages, parts
from recado.db.pool import Pool
from recado.db.scope import scoped
from recado.ids import new_id
from recado.journey.deliver import aftermath
from recado.ops import failed, recovery
from tests.cli.rows import Rows
from tests.journey.front import Front, open_front
from tests.plans import rows_read


@pytest.fixture
async def front(database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(database_url, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def platform(front: Front) -> AsyncIterator[Pool]:
    async with front.wiring.platform_pool() as pool:
        yield pool


def run(front: Front, query: str, *parameters: Any) -> None:
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        conn.execute(query, parameters)  # type: ignore[arg-type]


async def stray(front: Front, *, seconds: int = 60) -> UUID:
    """An inbound message of so long ago whose work was lost; answers its conversation."""
    arrival = await front.arrival()
    await front.accept(arrival)
    run(front, "DELETE FROM dbos.workflow_status")
    run(
        front,
        "UPDATE messages SET id = uuid_floor(now() - make_interval(secs => %s)) WHERE id = %s",
        seconds,
        arrival.message_id,
    )
    (row,) = front.rows("SELECT conversation_id FROM messages ORDER BY created_at DESC LIMIT 1")
    conversation_id: UUID = row["conversation_id"]
    return conversation_id


async def reply(front: Front, conversation_id: UUID) -> UUID:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        return await messages.enqueue_outbound(
            scope,
            conversation_id=conversation_id,
            author="assistant",
            body="Olá",
            correlation_id=new_id(),
            now=front.wiring.clock.now(),
        )


async def test_a_message_whose_work_was_lost_gets_new_work_in_its_lane_once(front: Front) -> None:
    conversation_id = await stray(front)
    async with platform(front) as pool:
        assert await recovery.give_work_to_strays(pool) == 1
        assert await recovery.give_work_to_strays(pool) == 0
    (work,) = front.work()
    assert (work["name"], work["queue_name"]) == ("process_ai_response", "turns")
    assert work["queue_partition_key"] == str(conversation_id)


async def test_a_message_that_has_just_come_is_left_alone(front: Front) -> None:
    await stray(front, seconds=5)
    async with platform(front) as pool:
        assert await recovery.give_work_to_strays(pool) == 0


async def test_a_message_whose_lane_has_work_is_left_alone(front: Front) -> None:
    await stray(front)
    await front.accept(await front.arrival("outra"))
    async with platform(front) as pool:
        assert await recovery.give_work_to_strays(pool) == 0


async def test_a_reply_whose_delivery_was_lost_gets_a_new_one(front: Front) -> None:
    conversation_id = await stray(front)
    run(front, "UPDATE messages SET status = 'answered'")
    message_id = await reply(front, conversation_id)
    run(front, "DELETE FROM dbos.workflow_status")
    run(front, "UPDATE messages SET id = uuid_floor(now() - interval '1 minute') WHERE id = %s", message_id)
    async with platform(front) as pool:
        assert await recovery.give_work_to_strays(pool) == 1
    (work,) = front.work()
    assert (work["name"], work["queue_name"]) == ("send_whatsapp_message", "deliveries")
    assert work["queue_partition_key"] == str(conversation_id)


@pytest.mark.parametrize("status", ["answered", "held", "unrouted", "failed", "delivered", "sent"])
async def test_what_is_taken_care_of_gets_no_work(front: Front, status: str) -> None:
    await stray(front)
    run(front, "UPDATE messages SET status = %s, held_for = %s", status, "people" if status == "held" else None)
    async with platform(front) as pool:
        assert await recovery.give_work_to_strays(pool) == 0


async def test_work_that_ends_in_an_error_again_and_again_is_given_up_and_shown(front: Front) -> None:
    await stray(front)
    async with platform(front) as pool:
        for _ in range(recovery.TRIES):
            assert await recovery.give_work_to_strays(pool) == 1
            run(front, "UPDATE dbos.workflow_status SET status = 'ERROR'")
        await recovery.give_work_to_strays(pool)
        assert len(front.work()) == recovery.TRIES
        assert [row["status"] for row in front.stored()] == ["failed"]
        assert front.rows("SELECT FROM events WHERE what = 'gave_up'") != []
        assert await recovery.give_work_to_strays(pool) == 0


class Witness:
    """What Twilio says when asked after a message."""

    def __init__(self, status: str | None, code: int | None = None) -> None:
        self.status, self.code, self.asked = status, code, list[str]()

    async def fetch(self, sid: str) -> Receipt:
        self.asked.append(sid)
        if self.status is None:
            raise SendError(ErrorClass.UNKNOWN, "Twilio is away")
        return Receipt(account_sid="AC", message_sid=sid, status=self.status, error_code=self.code)


async def ask(front: Front, witness: Witness, *, later: timedelta) -> int:
    async def sender_of(_owner_id: UUID, _account_id: UUID) -> Sender:
        return witness  # type: ignore[return-value]

    run(front, "UPDATE message_parts SET updated_at = updated_at - %s::interval", later)
    async with platform(front) as pool:
        return await recovery.ask_after_silent(pool, front.wiring.pool, sender_of)


async def taken(front: Front, status: str = "queued") -> UUID:
    """A reply that Twilio took, and of which nothing was heard since."""
    message_id = await reply(front, await stray(front))
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        await parts.plan(scope, message_id, ("Olá",))
        await parts.move_status(scope, message_id=message_id, part=1, sid="SM1", status=status, error_code=None)
    return message_id


SILENT = timedelta(seconds=recovery.SILENCE_S + 1)


async def test_a_message_that_twilio_never_reported_on_is_asked_after(front: Front) -> None:
    message_id = await taken(front)
    assert await ask(front, Witness("delivered"), later=SILENT) == 1
    (row,) = front.rows("SELECT status FROM messages WHERE id = %s", message_id)
    assert row["status"] == "delivered"


@pytest.mark.parametrize("code", [63016, 21610, 63033, 63018])
async def test_a_failure_that_was_never_reported_comes_to_light_with_its_code_and_what_follows_from_it(
    front: Front, code: int
) -> None:
    message_id = await taken(front)
    run(front, "DELETE FROM dbos.workflow_status")
    await ask(front, Witness("undelivered", code), later=SILENT)
    (row,) = front.rows("SELECT status, error_code FROM messages WHERE id = %s", message_id)
    assert (row["status"], row["error_code"]) == ("failed", code)
    work = [(row["workflow_uuid"], row["name"]) for row in front.work()]
    why = {63016: "window", 63018: "failed"}.get(code)
    assert work == ([(f"{message_id}:{why}:1:SM1", "send_whatsapp_message")] if why else [])
    reasons = [row["reason"] for row in front.rows("SELECT reason FROM suppressions")]
    assert reasons == ([f"twilio {code}"] if code in (21610, 63033) else [])
    assert len(front.rows("SELECT FROM events WHERE what = 'opted_out'")) == len(reasons)


async def test_a_failure_that_was_reported_before_is_not_followed_up_again_when_it_is_fetched(front: Front) -> None:
    message_id = await taken(front)
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        for _ in range(2):
            await aftermath.apply_status(
                scope, message_id=message_id, part=1, sid="SM1", status="failed", error_code=63033
            )
            await scope.conn.execute("DELETE FROM suppressions")
    assert front.rows("SELECT FROM suppressions") == []
    assert len(front.rows("SELECT FROM events WHERE what = 'opted_out'")) == 1


async def test_nobody_asks_after_what_was_just_taken_or_has_left_twilio(front: Front) -> None:
    witness = Witness("delivered")
    message_id = await taken(front)
    assert await ask(front, witness, later=timedelta()) == 0
    run(front, "UPDATE message_parts SET status = 'sent' WHERE message_id = %s", message_id)
    assert await ask(front, witness, later=SILENT) == 0
    assert witness.asked == []


async def test_a_twilio_that_does_not_answer_harms_nothing(front: Front) -> None:
    message_id = await taken(front)
    await ask(front, Witness(None), later=SILENT)
    (row,) = front.rows("SELECT status FROM messages WHERE id = %s", message_id)
    assert row["status"] == "queued"


class Deaf:
    """Twilio for accounts some of which fail or hang."""

    def __init__(self, hears: UUID, *, hangs: bool) -> None:
        self.hears, self.hangs, self.asked = hears, hangs, list[str]()

    async def of(self, owner_id: UUID, _account_id: UUID) -> Sender:
        return _Ear(self, owner_id)  # type: ignore[return-value]


class _Ear:
    def __init__(self, twilio: Deaf, owner_id: UUID) -> None:
        self.twilio, self.owner_id = twilio, owner_id

    async def fetch(self, sid: str) -> Receipt:
        self.twilio.asked.append(sid)
        if self.owner_id == self.twilio.hears:
            return Receipt(account_sid="AC", message_sid=sid, status="delivered")
        if self.twilio.hangs:
            await asyncio.Event().wait()
        raise SendError(ErrorClass.UNKNOWN, "Twilio is away")


@pytest.mark.parametrize("hangs", [False, True])
async def test_fifty_that_can_not_be_asked_after_hide_and_delay_no_other_owners(
    front: Front, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "ASK_S", 0.05)
    message_id = await taken(front)
    silent = "UPDATE message_parts SET updated_at = now() - interval '10 minutes' WHERE owner_id = %s"
    run(front, silent, front.owner_id)
    with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
        other = Rows.with_an_owner(conn)
        for number in range(50):
            other.outbound(status="queued", parts=[("queued", f"SM-of-another-{number}")])
        conn.execute(
            "UPDATE message_parts SET updated_at = now() - interval '1 hour' WHERE owner_id = %s", [other.owner]
        )
    twilio = Deaf(front.owner_id, hangs=hangs)
    async with platform(front) as pool:
        assert await recovery.ask_after_silent(pool, front.wiring.pool, twilio.of) == 1
        (row,) = front.rows("SELECT status FROM messages WHERE id = %s", message_id)
        assert row["status"] == "delivered"
        assert len(twilio.asked) <= 1 + recovery.SILENT_EACH
        # Those that failed take their turn again: another round asks after others.
        before = set(twilio.asked)
        await recovery.ask_after_silent(pool, front.wiring.pool, twilio.of)
        assert set(twilio.asked) - before


async def test_of_one_owner_those_that_always_fail_hide_no_others(front: Front) -> None:
    with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
        other = Rows.with_an_owner(conn)
        for number in range(10):
            other.outbound(status="queued", parts=[("queued", f"SM-{number}")])
        conn.execute("UPDATE message_parts SET updated_at = now() - interval '1 hour'")
    twilio = Deaf(front.owner_id, hangs=False)
    async with platform(front) as pool:
        for _ in range(5):
            await recovery.ask_after_silent(pool, front.wiring.pool, twilio.of)
            run(front, "UPDATE message_parts SET asked_at = asked_at - %s::interval", SILENT)
    assert len(set(twilio.asked)) == 10


async def test_many_that_wait_of_one_owner_hide_no_other_owners(front: Front) -> None:
    with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
        rows = Rows.with_an_owner(conn)
        conn.execute(
            "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, "
            "correlation_id, received_at) SELECT %s, uuid_floor(now() - interval '1 hour' + n * interval '1 ms'), %s, "
            "%s, 'inbound', 'contact', '', 'received', gen_random_uuid(), now() FROM generate_series(1, 300) n",
            [rows.owner, rows.conversation, rows.account],
        )
    conversation_id = await stray(front)
    (mine,) = front.rows("SELECT id FROM messages WHERE conversation_id = %s", conversation_id)
    async with platform(front) as pool:
        assert await recovery.give_work_to_strays(pool) == recovery.STRAYS
    assert f"{mine['id']}:1" in {row["workflow_uuid"] for row in front.work()}


async def test_what_waits_is_found_without_reading_what_is_held_and_what_is_done_without_what_is_old(
    front: Front,
) -> None:
    await stray(front)
    with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
        rows = Rows.with_an_owner(conn)
        conn.execute(
            "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, "
            "held_for, correlation_id, received_at) "
            "SELECT %s, uuid_floor(now() - n * interval '1 minute' - interval '2 days'), %s, %s, 'inbound', 'contact', "
            "'', 'held', 'limit', gen_random_uuid(), now() - interval '2 days' FROM generate_series(1, 3000) n",
            [rows.owner, rows.conversation, rows.account],
        )
        waits = rows.inbound(status="held", held_for="limit")
        conn.execute("ANALYZE messages")
    async with platform(front) as pool, pool.connection() as conn_:
        given = {"stray_s": recovery.STRAY_S, "tries": recovery.TRIES, "most": recovery.STRAYS}
        for query in (recovery._STRAYS, failed._WAITING):
            explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + query
            cursor = await conn_.execute(explain, given)
            row = await cursor.fetchone()
            assert row is not None
            assert rows_read(row["QUERY PLAN"][0]["Plan"], "messages") < 100
        assert await failed.waiting(conn_) == [{"status": "held", "held_for": "limit", "n": 1}]
        assert [found.id for found in await failed.failures(conn_)] == [waits]
