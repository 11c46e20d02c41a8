"""accept: one statement stores contact, conversation, message and event, and enqueues the turn's workflow.

An answer means committed. A repeated MessageSid changes nothing, whoever repeats it, on whichever process. Message
and work can't be parted: `dbos.enqueue_workflow` is a function of the same statement.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from recado.channels.port import Inbound
from recado.channels.twilio.accounts import Account, Number
from recado.db.group_commit import GroupCommit
from recado.db.pool import Connection
from recado.ids import new_id

#: The name under which the turn's workflow is enqueued, and the queue; `worker` registers both.
WORKFLOW, QUEUE = "process_ai_response", "turns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An authentic inbound message with its owner: what `accept` makes rows of."""

    owner_id: UUID
    account_id: UUID
    number: Number
    inbound: Inbound
    words: str
    message_id: UUID
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an arrival: its message, new or stored before."""

    message_id: UUID
    new: bool


def arrival(account: Account, number: Number, inbound: Inbound, words: str, *, now: datetime) -> Arrival:
    """An arrival under a new message id, which is its correlation id too."""
    return Arrival(
        owner_id=account.owner_id,
        account_id=account.id,
        number=number,
        inbound=inbound,
        words=words,
        message_id=new_id(),
        received_at=now,
    )


def lane_of(row: Arrival) -> int:
    """Messages of one contact stay in one lane, so that they are stored in the order they came."""
    return hash((row.owner_id, row.inbound.identity_key))


Acceptor = GroupCommit[Arrival, Accepted]

_ACCEPT = """
WITH input AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS r(
        id uuid, account_id uuid, number_id uuid, provider_sid text, identity_key text, address text,
        profile_name text, kind text, body text, parameters jsonb, received_at timestamptz, routed boolean,
        contact_id uuid, conversation_id uuid)
), fresh AS (
    SELECT DISTINCT ON (i.account_id, i.provider_sid) i.* FROM input i
    WHERE NOT EXISTS (SELECT FROM messages m WHERE m.account_id = i.account_id AND m.provider_sid = i.provider_sid)
    ORDER BY i.account_id, i.provider_sid, i.id
), person AS (
    SELECT DISTINCT ON (identity_key) * FROM fresh ORDER BY identity_key, id DESC
), known AS (
    SELECT c.id, c.identity_key FROM contacts c JOIN person p ON p.identity_key = c.identity_key
    WHERE c.owner_id = %(owner_id)s::uuid
), changed AS (
    UPDATE contacts c SET address = p.address, profile_name = coalesce(p.profile_name, c.profile_name)
    FROM person p
    WHERE c.owner_id = %(owner_id)s::uuid AND c.identity_key = p.identity_key
      AND (c.address, c.profile_name) IS DISTINCT FROM (p.address, coalesce(p.profile_name, c.profile_name))
), introduced AS (
    INSERT INTO contacts (owner_id, id, identity_key, address, profile_name)
    SELECT %(owner_id)s::uuid, contact_id, identity_key, address, profile_name FROM person
    WHERE identity_key NOT IN (SELECT identity_key FROM known)
    ORDER BY identity_key
    ON CONFLICT (owner_id, identity_key) DO NOTHING
    RETURNING id, identity_key
), contact AS (
    SELECT id, identity_key FROM known UNION ALL SELECT id, identity_key FROM introduced
), thread AS (
    SELECT DISTINCT ON (f.number_id, c.id) f.conversation_id, f.number_id, c.id AS contact_id, f.received_at
    FROM fresh f JOIN contact c ON c.identity_key = f.identity_key
    ORDER BY f.number_id, c.id, f.received_at DESC
), conversation AS (
    INSERT INTO conversations AS v (owner_id, id, number_id, contact_id, last_inbound_at)
    SELECT %(owner_id)s::uuid, conversation_id, number_id, contact_id, received_at FROM thread
    ON CONFLICT (owner_id, number_id, contact_id) WHERE status <> 'closed'
    DO UPDATE SET last_inbound_at = greatest(v.last_inbound_at, excluded.last_inbound_at)
    RETURNING id, number_id, contact_id
), message AS (
    INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, status,
                          provider_sid, correlation_id, parameters, received_at)
    SELECT %(owner_id)s::uuid, f.id, v.id, f.account_id, 'inbound', 'contact', f.kind, f.body,
           CASE WHEN f.routed THEN 'received' ELSE 'unrouted' END, f.provider_sid, f.id, f.parameters, f.received_at
    FROM fresh f
    JOIN contact c ON c.identity_key = f.identity_key
    JOIN conversation v ON v.number_id = f.number_id AND v.contact_id = c.id
    ORDER BY f.id
    ON CONFLICT (account_id, provider_sid) WHERE provider_sid IS NOT NULL DO NOTHING
    RETURNING id, conversation_id, status, received_at
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id, at)
    SELECT %(owner_id)s::uuid, 'accept', status, conversation_id, id, id, clock_timestamp() FROM message
), work AS (
    SELECT id, dbos.enqueue_workflow(
        'process_ai_response', 'turns',
        ARRAY[to_json(%(owner_id)s::text), to_json(conversation_id), to_json(id),
              to_json((extract(epoch FROM received_at) * 1000)::bigint)],
        workflow_id => id::text, queue_partition_key => conversation_id::text)
    FROM (SELECT * FROM message WHERE status = 'received' ORDER BY id) routed
)
SELECT m.id FROM message m LEFT JOIN work w ON w.id = m.id
"""

_STORED = """
SELECT m.id, m.account_id, m.provider_sid FROM messages m
JOIN json_to_recordset(%(rows)s::json) AS r(account_id uuid, provider_sid text)
  ON r.account_id = m.account_id AND r.provider_sid = m.provider_sid
"""


async def write(conn: Connection, rows: Sequence[Arrival]) -> list[Accepted]:
    """Store the arrivals in one transaction and one round trip; idempotent by (account, MessageSid).

    Each owner's rows are one statement under that owner's row-level security.
    """
    ordered = sorted(range(len(rows)), key=lambda index: str(rows[index].owner_id))
    groups = [
        (owner_id, list(indexes)) for owner_id, indexes in groupby(ordered, key=lambda index: rows[index].owner_id)
    ]
    cursors = []
    async with conn.pipeline(), conn.transaction():
        for owner_id, indexes in groups:
            parameters = {"owner_id": str(owner_id), "rows": json.dumps([_columns(rows[index]) for index in indexes])}
            await conn.execute("SELECT set_config('recado.owner_id', %(owner_id)s, true)", parameters)
            cursors.append(await conn.execute(_ACCEPT, parameters, prepare=True))
    new: set[UUID] = set()
    for cursor in cursors:
        new.update(row["id"] for row in await cursor.fetchall())
    answers = [Accepted(row.message_id, new=True) for row in rows]
    left = [index for index, row in enumerate(rows) if row.message_id not in new]
    for index in left:
        answers[index] = await _stored_before(conn, rows[index])
    return answers


async def _stored_before(conn: Connection, row: Arrival) -> Accepted:
    """The message that this arrival repeats.

    A contact or message that another process committed while our statement ran is invisible to its snapshot; a new
    snapshot sees it, so a row that is not stored yet is written again.
    """
    for _ in range(5):
        parameters = {"owner_id": str(row.owner_id), "rows": json.dumps([_columns(row)])}
        async with conn.pipeline(), conn.transaction():
            await conn.execute("SELECT set_config('recado.owner_id', %(owner_id)s, true)", parameters)
            found = await conn.execute(_STORED, parameters)
            again = await conn.execute(_ACCEPT, parameters, prepare=True)
        before, now = await found.fetchone(), await again.fetchone()
        if before is not None:
            return Accepted(before["id"], new=False)
        if now is not None:
            return Accepted(row.message_id, new=True)
    raise RuntimeError("an arrival was neither stored nor found")


def _columns(row: Arrival) -> dict[str, Any]:
    inbound = row.inbound
    return {
        "id": str(row.message_id),
        "account_id": str(row.account_id),
        "number_id": str(row.number.id),
        "provider_sid": inbound.message_sid,
        "identity_key": inbound.identity_key,
        "address": inbound.from_address,
        "profile_name": inbound.profile_name,
        "kind": inbound.kind,
        "body": row.words,
        "parameters": dict(inbound.parameters),
        "received_at": row.received_at.isoformat(),
        "routed": row.number.routed,
        "contact_id": str(new_id()),
        "conversation_id": str(new_id()),
    }
