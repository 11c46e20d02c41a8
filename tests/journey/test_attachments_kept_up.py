"""understand, attachments that nobody fetches: given work again, given up in time, retried by people; never silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from recado.assistants import unheard
from recado.channels.port import Sender
from recado.conversations import messages, parts
from recado.db.scope import scoped
from recado.ids import new_id
from recado.ops import failed, recovery, sweeps
from tests.cli.rows import Rows
from tests.journey.attached import Outside, media, message, names, note, replies, run, turn, understand
from tests.journey.front import Front, open_front

#: What a worker may take that has begun.
AT_WORK = timedelta(seconds=370)


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


def age(front: Front, message_id: UUID, seconds: int) -> UUID:
    """Let the message have come so long ago; answers its new id, under which its attachment is too."""
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        conn.execute("ALTER TABLE media DROP CONSTRAINT IF EXISTS media_owner_id_message_id_fkey")
        row = conn.execute(
            "UPDATE messages SET id = uuid_floor(now() - make_interval(secs => %(s)s)), "
            "received_at = now() - make_interval(secs => %(s)s) WHERE id = %(id)s RETURNING id",
            {"s": seconds, "id": message_id},
        ).fetchone()
        assert row is not None
        conn.execute("UPDATE media SET message_id = %s WHERE message_id = %s", [row[0], message_id])
    found: UUID = row[0]
    return found


async def late(front: Front) -> int:
    async with front.wiring.platform_pool() as pool:
        return await recovery.give_up_late_media(pool, at_work=AT_WORK)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A worker's clock that is so far ahead."""

    ahead: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


async def nobody(_owner_id: UUID, _account_id: UUID) -> Sender:
    raise AssertionError


async def swept(front: Front, name: str, clock: Wrong) -> object:
    """What that sweep of a worker with such a clock does."""
    wiring = front.wiring
    async with wiring.platform_pool() as platform:
        found = sweeps.of_a_worker(
            pool=wiring.pool,
            platform=platform,
            clock=clock,
            sender_of=nobody,
            listed_of=nobody,
            at_work=AT_WORK,
        )
        (sweep,) = [one for one in found if one.name == name]
        return await sweep.run()


@pytest.mark.parametrize(
    ("age_s", "ahead", "given_up"),
    [(30, timedelta(hours=2), 0), (recovery.LATE_S + 5, timedelta(hours=-2), 1)],
)
async def test_a_worker_whose_clock_is_wrong_gives_attachments_up_no_sooner_and_no_later(
    front: Front, age_s: int, ahead: timedelta, given_up: int
) -> None:
    message_id = await note(front)
    run(front, "UPDATE dbos.workflow_status SET created_at = created_at - %s * 1000", age_s)
    age(front, message_id, age_s)
    assert await swept(front, "late_media", Wrong(ahead)) == given_up


async def test_a_worker_whose_clock_is_ahead_asks_after_nothing_that_twilio_has_just_taken(front: Front) -> None:
    await front.accept(await front.arrival("Oi"))
    (row,) = front.rows("SELECT conversation_id FROM messages")
    now = front.wiring.clock.now()
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        reply = await messages.enqueue_outbound(
            scope,
            conversation_id=row["conversation_id"],
            author="assistant",
            body="Olá",
            correlation_id=new_id(),
            now=now,
        )
        await parts.plan(scope, reply, ("Olá",))
        await parts.move_status(scope, message_id=reply, part=1, sid="SM1", status="queued", error_code=None)
    assert await swept(front, "silent", Wrong(timedelta(hours=2))) == 0
    assert front.rows("SELECT asked_at FROM message_parts") == [{"asked_at": None}]


async def strays(front: Front) -> tuple[int, int]:
    async with front.wiring.platform_pool() as pool:
        return await recovery.fetch_stray_media(pool), await recovery.give_work_to_strays(pool)


async def test_attachments_that_nobody_fetches_are_given_up_and_the_conversation_goes_on(
    front: Front, outside: Outside
) -> None:
    message_id = await note(front)
    assert await late(front) == 0
    run(front, "UPDATE dbos.workflow_status SET created_at = 0")
    message_id = age(front, message_id, recovery.LATE_S + 5)
    assert await late(front) == 1
    assert await late(front) == 0
    assert (media(front)["status"], media(front)["reason"]) == ("failed", "late")
    assert names(front)[-1] == ("process_ai_response", "turns")
    (event,) = front.rows("SELECT what FROM events WHERE step = 'understand'")
    assert event["what"] == "late"
    await turn(front, message_id)
    assert replies(front) == [unheard.WORDS["pt"]]
    # Who comes to it after all keeps it, for people; where it has no words there is nothing to answer.
    outside.hearing = ""
    await understand(front, outside, message_id)
    assert (media(front)["status"], media(front)["reason"]) == ("stored", "no_speech")
    assert message(front, message_id)["status"] == "answered"
    assert names(front).count(("process_ai_response", "turns")) == 1


async def test_of_many_owners_attachments_each_owners_oldest_have_their_turn(front: Front) -> None:
    with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
        rows = Rows.with_an_owner(conn)
        conn.execute(
            "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, status, "
            "awaits_media, correlation_id, received_at) "
            "SELECT %s, uuid_floor(now() - interval '2 hours' + n * interval '1 ms'), %s, %s, 'inbound', 'contact', "
            "'image', '', 'received', true, gen_random_uuid(), now() - interval '2 hours' "
            "FROM generate_series(1, 150) n",
            [rows.owner, rows.conversation, rows.account],
        )
    message_id = age(front, await note(front), recovery.LATE_S + 5)
    run(front, "DELETE FROM dbos.workflow_status")
    async with front.wiring.platform_pool() as pool:
        assert await recovery.fetch_stray_media(pool) == 100
    assert f"{message_id}:media:1" in {row["workflow_uuid"] for row in front.work()}
    run(front, "DELETE FROM dbos.workflow_status")
    assert await late(front) == 100
    assert media(front)["reason"] == "late"


def begun(front: Front, *, seconds: int, alive: bool) -> None:
    """Somebody has been at the work for so long, and is alive or not."""
    run(
        front,
        "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'one', created_at = 0, "
        "started_at_epoch_ms = (extract(epoch FROM now()) - %s) * 1000",
        seconds,
    )
    if alive:
        row = "('one', 1, 'worker', 'host', 1, '{media}')"
        run(front, f"INSERT INTO executors (id, lock_key, kind, host, pid, queues) VALUES {row}")


@pytest.mark.parametrize(
    ("seconds", "alive", "given_up"), [(115, True, 0), (360, True, 0), (380, True, 1), (115, False, 1)]
)
async def test_a_note_that_a_living_worker_listens_to_has_as_long_as_the_longest_takes(
    front: Front, seconds: int, alive: bool, given_up: int
) -> None:
    await note(front)
    run(front, "UPDATE messages SET received_at = now() - make_interval(secs => %s)", recovery.LATE_S + 5)
    begun(front, seconds=seconds, alive=alive)
    assert await late(front) == given_up


async def test_awaited_attachments_without_work_get_it_and_their_conversation_gets_no_other(front: Front) -> None:
    await front.accept(await front.arrival("antes"))
    message_id = age(front, await note(front), recovery.STRAY_S + 5)
    run(front, "DELETE FROM dbos.workflow_status")
    assert await strays(front) == (1, 0)
    assert await strays(front) == (0, 0)
    assert [(work["name"], work["workflow_uuid"]) for work in front.work()] == [
        ("transcribe_audio", f"{message_id}:media:1")
    ]


async def test_fetching_that_ends_in_an_error_again_and_again_ends_as_late(front: Front) -> None:
    age(front, await note(front), recovery.LATE_S + 5)
    run(front, "DELETE FROM dbos.workflow_status")
    for _ in range(recovery.TRIES):
        assert await strays(front) == (1, 0)
        run(front, "UPDATE dbos.workflow_status SET status = 'ERROR'")
    assert await strays(front) == (0, 0)
    assert await late(front) == 1


async def test_a_held_note_that_is_retried_is_fetched_first_and_then_answered(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    run(front, "DELETE FROM dbos.workflow_status")
    run(front, "UPDATE messages SET status = 'held', held_for = 'limit', awaits_media = false")
    async with await front.wiring.connect("recado_platform") as conn:
        assert await failed.retry(conn, message_id) == "queued"
        assert await failed.retry(conn, message_id) == "in work"
    (work,) = front.work()
    assert (work["name"], work["queue_name"]) == ("transcribe_audio", "voice")
    await understand(front, outside, message_id)
    await turn(front, message_id)
    assert message(front, message_id)["status"] == "answered"


async def test_a_retried_note_whose_turn_there_was_before_gets_another(front: Front, outside: Outside) -> None:
    message_id = await note(front)
    await understand(front, outside, message_id)
    run(front, "UPDATE messages SET awaits_media = true")
    run(front, "UPDATE media SET status = 'waiting'")
    await understand(front, outside, message_id)
    turns = [work["workflow_uuid"] for work in front.work() if work["queue_name"] == "turns"]
    assert len(set(turns)) == 2
