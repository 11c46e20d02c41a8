"""Erasing a contact with 10,000 messages, beside deleting the same rows by bare statements; and copying one."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from bench import pairs, stack

#: Messages of others that lie between: an index must lead to those that go.
OTHERS = 100_000

# Each contact has one conversation; half of its messages came, each with its answer, part, attempt, turn and events,
# and with what the workflow engine keeps of the turn.
_LOAD = """
SET search_path TO recado;
SET synchronous_commit TO off;
INSERT INTO contacts (owner_id, id, identity_key, address, profile_name)
SELECT o.id, md5(%(name)s || 'c' || c)::uuid, %(name)s || c, 'whatsapp:+5521' || lpad(c::text, 9, '0'), 'Contact ' || c
FROM owners o, generate_series(1, %(contacts)s) c;
INSERT INTO conversations (owner_id, id, number_id, contact_id, last_inbound_at)
SELECT o.id, md5(%(name)s || 'v' || c)::uuid, b.id, md5(%(name)s || 'c' || c)::uuid, now()
FROM owners o JOIN numbers b ON b.owner_id = o.id, generate_series(1, %(contacts)s) c;
CREATE TEMPORARY TABLE made AS
SELECT o.id AS owner_id, a.id AS account_id, md5(%(name)s || 'v' || c)::uuid AS conversation_id, n,
       md5(%(name)s || c || 'i' || n)::uuid AS came, md5(%(name)s || c || 'o' || n)::uuid AS went
FROM owners o JOIN twilio_accounts a ON a.owner_id = o.id, generate_series(1, %(contacts)s) c,
     generate_series(1, %(messages)s / 2) n;
INSERT INTO turns (owner_id, id, conversation_id, correlation_id, outcome, started_at, finished_at)
SELECT owner_id, came, conversation_id, came, 'answered', now(), now() FROM made;
INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, provider_sid,
                      correlation_id, turn_id, received_at)
SELECT owner_id, came, conversation_id, account_id, 'inbound', 'contact', 'Olá, tudo bem? ' || n, 'answered',
       'SM' || md5('i' || came), came, came, now() FROM made;
INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, correlation_id,
                      reply_to, turn_id, received_at)
SELECT owner_id, went, conversation_id, account_id, 'outbound', 'assistant', 'Tudo bem! ' || n, 'read', came, came,
       came, now() FROM made;
INSERT INTO message_parts (owner_id, message_id, part, body, status, provider_sid)
SELECT owner_id, went, 1, 'Tudo bem! ' || n, 'read', 'SM' || md5('o' || went) FROM made;
INSERT INTO delivery_attempts (owner_id, id, message_id, part, outcome, started_at, finished_at, address)
SELECT owner_id, went, went, 1, 'taken', now(), now(), 'whatsapp:+5521' FROM made;
INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
SELECT owner_id, 'confirm', what, conversation_id, went, came
FROM made, unnest(ARRAY['sent', 'delivered', 'read', 'answered', 'received']) what;
INSERT INTO dbos.workflow_status (workflow_uuid, status, name, queue_name, queue_partition_key, created_at, updated_at)
SELECT came::text, 'SUCCESS', 'process_ai_response', 'turns', owner_id || ':' || conversation_id, 1, 1 FROM made;
INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output)
SELECT came::text, 1, 'think', '{"text": "Tudo bem!"}' FROM made;
DROP TABLE made;
"""
_FLOOR = (
    "DELETE FROM delivery_attempts WHERE message_id IN (SELECT id FROM messages WHERE conversation_id = %(id)s)",
    "DELETE FROM message_parts WHERE message_id IN (SELECT id FROM messages WHERE conversation_id = %(id)s)",
    "DELETE FROM events WHERE correlation_id IN (SELECT id FROM messages WHERE conversation_id = %(id)s)",
    *(
        f"DELETE FROM dbos.{table} WHERE workflow_uuid IN "
        "(SELECT id::text FROM messages WHERE conversation_id = %(id)s)"
        for table in ("operation_outputs", "workflow_status")
    ),
    "DELETE FROM messages WHERE conversation_id = %(id)s",
    "DELETE FROM turns WHERE conversation_id = %(id)s",
    "DELETE FROM conversations WHERE id = %(id)s",
    "DELETE FROM contacts WHERE id = %(contact)s",
)


class _NothingThere:
    """A Twilio that answers at once that it has no such thing: what it takes is not ours."""

    async def erase(self, _message_sid: str, *, with_media: bool) -> int | None:
        return None

    async def find(self, **_more: Any) -> list[Any]:
        return []

    async def erase_content(self, _content_sid: str) -> bool:
        return False


def _load(admin_url: str, name: str, *, contacts: int, messages: int) -> None:
    with psycopg.connect(admin_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role TO replica")
        given = {"name": name, "contacts": contacts, "messages": messages}
        psycopg.ClientCursor(conn).execute(_LOAD, given)
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


async def _erased(home: Path, *, messages: int, times: int) -> dict[str, Any]:
    from recado.conversations import erasures
    from recado.db.scope import scoped
    from recado.ops.privacy import erase, export
    from recado.ops.privacy.running import EraseDesk
    from recado.settings import Settings
    from recado.wiring import wire

    async def eraser_of(_owner: UUID, _account: UUID) -> Any:
        return _NothingThere()

    async with AsyncExitStack() as opened:
        wiring = await opened.enter_async_context(wire(Settings(home=home, database_url=None, _env_file=None)))
        platform = await opened.enter_async_context(wiring.platform_pool())
        _load(wiring.database.admin_url, "others", contacts=OTHERS // 100, messages=100)
        _load(wiring.database.admin_url, "mine", contacts=2 * times + 1, messages=messages)
        desk = EraseDesk(platform=platform, storage=wiring.storage, keyring=wiring.keyring, eraser_of=eraser_of)
        with psycopg.connect(wiring.database.admin_url, autocommit=True) as conn:
            conn.execute("SET search_path TO recado")
            [(owner_id,)] = conn.execute("SELECT id FROM owners").fetchall()
            people = conn.execute(
                "SELECT c.id, v.id FROM contacts c JOIN conversations v ON v.contact_id = c.id "
                "WHERE c.identity_key LIKE 'mine%' ORDER BY c.identity_key"
            ).fetchall()

            async def floor() -> dict[str, float]:
                contact, conversation = people.pop()
                began = time.perf_counter()
                with conn.transaction():
                    for statement in _FLOOR:
                        conn.execute(statement, {"id": conversation, "contact": contact})
                return {"seconds": time.perf_counter() - began}

            async def ours() -> dict[str, float]:
                contact, _ = people.pop()
                began = time.perf_counter()
                async with scoped(wiring.pool, owner_id) as scope:
                    erasure, _new = await erasures.request(scope, wiring.keyring, contact, now=datetime.now(UTC))
                asked = time.perf_counter() - began
                here = 0.0
                while True:
                    await erase.carry_on(desk)
                    async with scoped(wiring.pool, owner_id) as scope:
                        now = await erasures.get(scope, erasure.id)
                    if now.erased_at is not None and not here:
                        here = (now.erased_at - now.requested_at).total_seconds()
                    if now.status == "done":
                        break
                took = time.perf_counter() - began
                return {"seconds": here, "request_ms": asked * 1000, "whole_seconds": took}

            copied = await _copied(lambda: scoped(wiring.pool, owner_id), wiring, owner_id, people.pop()[0], export)
            measured = await pairs.in_turn_async(floor, ours, times=times)
            left = conn.execute("SELECT count(*) FROM contacts WHERE identity_key LIKE 'mine%'").fetchone()
    assert left is not None
    return {**measured, "messages": messages, "left": left[0] - 1, "copy": copied}


async def _copied(read: Any, wiring: Any, owner_id: UUID, contact_id: UUID, export: Any) -> dict[str, float]:
    """Seconds and the peak of memory of one copy as a ZIP archive, and its size."""
    tracemalloc.start()
    began, size = time.perf_counter(), 0
    made_at = datetime.now(UTC)
    found = await export.copy(read, wiring.storage, owner_id, contact_id, made_at=made_at)
    async for piece in export.zipped(found.files(), made_at=made_at):
        size += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"seconds": time.perf_counter() - began, "peak_mb": peak / 1e6, "size_mb": size / 1e6}


def measure(*, messages: int = 10_000, times: int = 3) -> dict[str, Any]:
    """Seconds until nothing of a contact is left here, and until Twilio has answered for everything."""
    with ExitStack() as homes:
        home = homes.enter_context(stack.home())
        stack.run(stack.set_up(home))
        figures: dict[str, Any] = stack.run(_erased(home, messages=messages, times=times))
    return figures
