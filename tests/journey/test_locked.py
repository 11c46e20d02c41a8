"""Rows that somebody has locked: their own messages are refused for a while, everybody else's are stored at once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from recado.db.group_commit import WAIT_S, GroupCommit, Unavailable
from recado.journey.accept import accept
from recado.journey.accept.accept import Acceptor
from tests.channels.examples import inbound
from tests.journey.front import NUMBER, Front, message_sid, open_front
from tests.product import establish

OTHER_SID, OTHER_TOKEN, OTHER_NUMBER = "AC" + "7" * 32, "other_token", "whatsapp:+14155550007"
#: Far more than the lanes' patience, far less than a second a row.
BOUND_S = 2 * WAIT_S + 8


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def other(front: Front) -> UUID:
    return await establish(front.wiring, OTHER_SID, OTHER_TOKEN, OTHER_NUMBER)


@contextmanager
def locked(front: Front, statement: str, *parameters: Any) -> Iterator[None]:
    """An operator's transaction that has been left open."""
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        conn.execute(statement, parameters)  # type: ignore[arg-type]
        yield
        conn.rollback()


def person(number: int) -> str:
    return f"whatsapp:+55119870{number:05d}"


async def to_other(front: Front, number: int) -> int:
    form = inbound("text", MessageSid=message_sid(), AccountSid=OTHER_SID, To=OTHER_NUMBER, From=person(number))
    return (await front.post(form, token=OTHER_TOKEN)).status_code


async def to_us(front: Front, number: int) -> int:
    return (await front.post(inbound("text", MessageSid=message_sid(), To=NUMBER, From=person(number)))).status_code


LOCKS = {
    "the conversation": "SELECT FROM conversations WHERE owner_id = %s FOR UPDATE",
    "the owner": "SELECT FROM owners WHERE id = %s FOR UPDATE",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
async def test_one_owners_locked_row_refuses_that_owners_messages_alone(front: Front, other: UUID, lock: str) -> None:
    assert await to_us(front, 0) == 200
    with locked(front, lock, front.owner_id):
        # More of them all the time, as Twilio comes again; another process's lanes would see the same.
        ours = [asyncio.create_task(to_us(front, 0)) for _ in range(20)]
        theirs = [asyncio.create_task(to_other(front, number)) for number in range(200)]
        assert await asyncio.gather(*theirs) == [200] * 200
        assert set(await asyncio.gather(*ours)) == {503}
    assert await to_us(front, 0) == 200, "and once the lock is gone it is stored"


async def test_many_locked_rows_are_refused_within_bounded_time_and_hold_up_nobody(front: Front, other: UUID) -> None:
    people = range(64)
    assert set(await asyncio.gather(*(to_us(front, number) for number in people))) == {200}
    with locked(front, "SELECT FROM contacts c JOIN conversations v ON v.contact_id = c.id FOR UPDATE"):
        began = time.monotonic()
        ours = [asyncio.create_task(to_us(front, number)) for number in people for _ in range(2)]
        theirs = [asyncio.create_task(to_other(front, number)) for number in range(200)]
        assert await asyncio.gather(*theirs) == [200] * 200
        assert not all(task.done() for task in ours) or time.monotonic() - began < WAIT_S
        assert set(await asyncio.gather(*ours)) == {503}
        assert time.monotonic() - began < BOUND_S
    assert set(await asyncio.gather(*(to_us(front, number) for number in people))) == {200}


async def test_a_lock_of_a_moment_is_waited_for(front: Front) -> None:
    assert await to_us(front, 0) == 200
    with locked(front, LOCKS["the conversation"], front.owner_id):
        message = asyncio.create_task(to_us(front, 0))
        await asyncio.sleep(0.5)  # longer than a batch waits
        assert not message.done()
    assert await message == 200


async def test_an_opt_outs_advisory_lock_that_is_held_refuses_that_contact_alone(front: Front, other: UUID) -> None:
    assert await to_us(front, 0) == 200
    [contact] = front.rows("SELECT identity_key FROM contacts")
    with locked(front, "SELECT pg_advisory_xact_lock(consent_key(%s, %s))", front.owner_id, contact["identity_key"]):
        form = inbound("text", MessageSid=message_sid(), To=NUMBER, From=person(0), Body="SAIR")
        stop = asyncio.create_task(front.post(form))
        assert await asyncio.gather(*(to_other(front, number) for number in range(100))) == [200] * 100
        assert (await stop).status_code == 503


async def test_a_trigger_that_takes_long_for_one_row_refuses_that_row_alone(
    front: Front, other: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recado.db.group_commit.STATEMENT_S", 1.0)
    with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
        conn.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.body = 'devagar' THEN PERFORM pg_sleep(30); END IF; RETURN NEW; END $$"
        )
        conn.execute("CREATE TRIGGER slow BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION slow()")
    try:
        form = inbound("text", MessageSid=message_sid(), To=NUMBER, From=person(0), Body="devagar")
        slow = asyncio.create_task(front.post(form))
        assert await asyncio.gather(*(to_other(front, number) for number in range(100))) == [200] * 100
        assert (await slow).status_code == 503
    finally:
        with psycopg.connect(front.database_url, autocommit=True, options="-c search_path=recado") as conn:
            conn.execute("DROP TRIGGER slow ON messages; DROP FUNCTION slow()")


async def test_what_was_put_aside_keeps_its_order(front: Front) -> None:
    acceptor: Acceptor
    async with GroupCommit(front.lane, accept.write, accept.lane_of, owner_of=lambda row: row.owner_id) as acceptor:
        await acceptor.submit(await front.arrival("0", From=person(0)))
        arrivals = [await front.arrival(f"{number}", From=person(0)) for number in range(1, 80)]
        with locked(front, LOCKS["the conversation"], front.owner_id):
            waiting = [asyncio.create_task(acceptor.submit(row)) for row in arrivals]
            await asyncio.sleep(0.7)  # the first is aside by now, the others behind it
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [isinstance(answer, Unavailable) for answer in answers]
    stored = [row["body"] for row in front.stored()][1:]
    assert stored == [row.words for row, gone in zip(arrivals, refused, strict=True) if not gone]
    assert stored, "the lock was gone while they waited"


async def test_a_callback_about_a_locked_message_is_refused_alone(front: Front, other: UUID) -> None:
    assert await to_us(front, 0) == 200
    [conversation] = front.rows("SELECT id FROM conversations")
    sids = {name: "SM" + secrets.token_hex(16) for name in ("locked", "free")}
    for name, sid in sids.items():
        with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
            [message] = conn.execute(
                "INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, "
                "status, received_at, correlation_id) SELECT owner_id, gen_random_uuid(), %s, account_id, 'outbound', "
                "'assistant', 'text', %s, 'sent', now(), gen_random_uuid() FROM messages LIMIT 1 RETURNING id",
                [conversation["id"], name],
            ).fetchone() or [None]
            conn.execute(
                "INSERT INTO message_parts (owner_id, message_id, part, body, status, provider_sid) "
                "VALUES (%s, %s, 1, %s, 'sent', %s)",
                [front.owner_id, message, name, sid],
            )

    async def callback(name: str) -> int:
        form = inbound("text", MessageSid=sids[name], MessageStatus="delivered", SmsStatus="delivered")
        return (await front.post(form, path="/channels/twilio/v1/webhooks/outbound")).status_code

    with locked(front, "SELECT FROM messages WHERE body = %s FOR UPDATE", "locked"):
        both = [asyncio.create_task(callback("locked")), *(asyncio.create_task(callback("free")) for _ in range(40))]
        assert await asyncio.gather(*both) == [503, *[200] * 40]
    assert await callback("locked") == 200
