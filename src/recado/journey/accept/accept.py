"""accept: one statement stores contact, conversation, message, attachments and event, and enqueues the work.

An answer means committed. A repeated MessageSid changes nothing, whoever repeats it, on whichever process. Message
and work can't be parted: `enqueue_turn` is a function of the same statement. The work is the turn; of a
message with attachments it is to fetch them first, and the turn follows from that (`understand/attachments`). STOP and
START are heeded in the same transaction: from the answer on nothing goes to a contact who opted out. What Twilio's own
words have heeded (`OptOutType`) is stored as answered: it has no turn, and no confirmation of ours. Of a telephone
number and a business-scoped id that come together one contact is made before, if they were two (`unite`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from recado.channels.port import Inbound
from recado.channels.twilio.addresses import WHATSAPP
from recado.channels.twilio.directory import Account, Number
from recado.channels.twilio.parse import tapped
from recado.conversations import consent_words
from recado.conversations.holding import HeldFor
from recado.db.group_commit import GroupCommit
from recado.db.pool import BY_KEY, Connection
from recado.ids import new_id

#: What a message of another channel is held for.
CHANNEL: Final = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An authentic inbound message with its owner: what `accept` makes rows of.

    `held` is what it is held for instead of answered, None for what is answered. What the channel has answered itself
    (`Inbound.opt_out`) is neither.
    """

    owner_id: UUID
    account_id: UUID
    number: Number
    inbound: Inbound
    words: str
    message_id: UUID
    received_at: datetime
    held: HeldFor | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an arrival: its message, new or stored before."""

    message_id: UUID
    new: bool


def arrival(
    account: Account, number: Number, inbound: Inbound, words: str, *, now: datetime, held: HeldFor | None = None
) -> Arrival:
    """An arrival under a new message id, which is its correlation id too."""
    return Arrival(
        owner_id=account.owner_id,
        account_id=account.id,
        number=number,
        inbound=inbound,
        words=words,
        message_id=new_id(),
        received_at=now,
        held=held,
    )


def is_held(row: Arrival) -> bool:
    """What nobody waits for has a lane of its own: a flood of it is no one else's delay."""
    return row.held is not None


def lane_of(row: Arrival) -> int:
    """Messages of one contact stay in one lane, so that they are stored in the order they came."""
    return hash((row.owner_id, row.inbound.identity_key))


Acceptor = GroupCommit[Arrival, Accepted]

# The look-ups are sub-selects with a LIMIT, which the planner can't turn into a join over all of an owner's rows: the
# plan is made once, on small tables, and must hold on large ones.
_STATEMENT = """
WITH input AS (
    SELECT * FROM json_to_recordset(owned.rows) AS r(
        id uuid, account_id uuid, number_id uuid, provider_sid text, own_key text, external_id text, address text,
        profile_name text, kind text, body text, parameters jsonb, received_at timestamptz, routed boolean, held text,
        answered boolean, voice boolean, media json, contact_id uuid, conversation_id uuid)
), fresh AS (
    -- Who comes with a business-scoped id alone may be known by their telephone number.
    SELECT DISTINCT ON (i.account_id, i.provider_sid) i.*,
           CASE WHEN i.external_id IS NULL THEN i.own_key ELSE coalesce(
               (SELECT c.identity_key FROM contacts c
                WHERE c.owner_id = owned.owner_id AND c.identity_key = i.own_key LIMIT 1),
               (SELECT c.identity_key FROM contacts c
                WHERE c.owner_id = owned.owner_id AND c.external_id = i.external_id LIMIT 1),
               i.own_key) END AS identity_key
    FROM input i
    -- The next MessageSid in order, which only the index of MessageSids has: on a table without statistics one by owner
    -- seems to cost the same for the one that equals.
    WHERE (SELECT m.provider_sid FROM messages m
           WHERE m.account_id = i.account_id AND m.provider_sid >= i.provider_sid
           ORDER BY m.account_id, m.provider_sid LIMIT 1) IS DISTINCT FROM i.provider_sid
    ORDER BY i.account_id, i.provider_sid, i.id
), person AS (
    SELECT p.*, c.id AS known_id,
           (c.address, c.profile_name, c.external_id) IS DISTINCT FROM
           (p.address, coalesce(p.profile_name, c.profile_name), coalesce(p.external_id, c.external_id)) AS news
    FROM (SELECT DISTINCT ON (identity_key) * FROM fresh ORDER BY identity_key, id DESC) p
    LEFT JOIN LATERAL (
        SELECT id, address, profile_name, external_id FROM contacts
        WHERE owner_id = owned.owner_id AND identity_key = p.identity_key LIMIT 1) c ON true
), introduced AS (
    INSERT INTO contacts AS c (owner_id, id, identity_key, address, profile_name, external_id)
    SELECT owned.owner_id, contact_id, identity_key, address, profile_name, external_id FROM person WHERE news
    ORDER BY identity_key
    ON CONFLICT (owner_id, identity_key)
    DO UPDATE SET address = excluded.address, profile_name = coalesce(excluded.profile_name, c.profile_name),
                  external_id = coalesce(excluded.external_id, c.external_id)
    RETURNING id, identity_key
), contact AS (
    SELECT known_id AS id, identity_key FROM person WHERE NOT news UNION ALL SELECT id, identity_key FROM introduced
), thread AS (
    SELECT DISTINCT ON (f.number_id, c.id) f.conversation_id, f.number_id, c.id AS contact_id, f.received_at
    FROM fresh f JOIN contact c ON c.identity_key = f.identity_key
    ORDER BY f.number_id, c.id, f.received_at DESC
), conversation AS (
    INSERT INTO conversations AS v (owner_id, id, number_id, contact_id, last_inbound_at)
    SELECT owned.owner_id, conversation_id, number_id, contact_id, received_at FROM thread
    ON CONFLICT (owner_id, number_id, contact_id) WHERE status <> 'closed'
    DO UPDATE SET last_inbound_at = greatest(v.last_inbound_at, excluded.last_inbound_at)
    RETURNING id, number_id, contact_id
), message AS (
    INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, status,
                          held_for, provider_sid, correlation_id, parameters, received_at, awaits_media)
    SELECT owned.owner_id, f.id, v.id, f.account_id, 'inbound', 'contact', f.kind, f.body,
           CASE WHEN f.answered THEN 'answered' WHEN f.held IS NOT NULL THEN 'held'
                WHEN f.routed THEN 'received' ELSE 'unrouted' END,
           CASE WHEN NOT f.answered THEN f.held END, f.provider_sid, f.id, f.parameters, f.received_at,
           f.media IS NOT NULL AND NOT f.answered AND f.held IS NULL AND f.routed
    FROM fresh f
    JOIN contact c ON c.identity_key = f.identity_key
    JOIN conversation v ON v.number_id = f.number_id AND v.contact_id = c.id
    ORDER BY f.id
    ON CONFLICT (account_id, provider_sid) WHERE provider_sid IS NOT NULL DO NOTHING
    RETURNING id, conversation_id, status, held_for, received_at, awaits_media
), attachment AS (
    INSERT INTO media (owner_id, id, message_id, ordinal, url, announced_type, file_name)
    SELECT owned.owner_id, a.id, m.id, a.ordinal, a.url, a.announced_type, a.file_name
    FROM fresh f
    JOIN message m ON m.id = f.id
    CROSS JOIN LATERAL json_to_recordset(f.media) AS a(
        id uuid, ordinal smallint, url text, announced_type text, file_name text)
    WHERE f.media IS NOT NULL
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id, at, data)
    SELECT owned.owner_id, 'accept', CASE WHEN held_for = 'limit' THEN 'limited'
                                           WHEN status = 'answered' THEN 'answered_by_twilio' ELSE status END,
           conversation_id, id, id, clock_timestamp(),
           CASE WHEN held_for IS NOT NULL THEN jsonb_build_object('held_for', held_for) END
    FROM message
), work AS (
    SELECT id, CASE WHEN awaits_media
        THEN enqueue_media(owned.owner_id, conversation_id, id, received_at,
                           (SELECT f.voice FROM fresh f WHERE f.id = routed.id), id::text || ':media')
        ELSE enqueue_turn(owned.owner_id, conversation_id, id, received_at, id::text) END
    FROM (SELECT * FROM message WHERE status = 'received' ORDER BY id) routed
)
SELECT m.id FROM message m LEFT JOIN work w ON w.id = m.id
"""

# A function of the lane's session: the plan is kept, and owners, statement and commit are one round trip with one
# message each way. Sent one by one down a pipeline they cost a quarter of the webhook's time in system calls.
_FUNCTION = f"""
CREATE OR REPLACE FUNCTION pg_temp.accept(input json, told json) RETURNS SETOF uuid LANGUAGE plpgsql AS $accept$
#variable_conflict use_column
DECLARE
    owned record;
BEGIN
    FOR owned IN SELECT key::uuid AS owner_id, value AS rows FROM json_each(input) ORDER BY key LOOP
        PERFORM set_config('recado.owner_id', owned.owner_id::text, true);
        IF told IS NOT NULL THEN
            PERFORM unite(owned.owner_id, ids.own_key, ids.scoped) FROM (
                SELECT key AS scoped, value AS own_key FROM json_each_text(told -> owned.owner_id::text)
                ORDER BY key OFFSET 0
            ) ids;
        END IF;
        RETURN QUERY {_STATEMENT};
        {consent_words.HEED};
    END LOOP;
END
$accept$
"""  # noqa: S608 - the statements are constants

_STORED = """
SELECT id FROM messages WHERE owner_id = %s AND account_id = %s AND provider_sid = %s
"""


async def prepare(conn: Connection) -> None:
    """Make a new connection one that `write` works on."""
    await conn.execute(BY_KEY + _FUNCTION)


async def write(conn: Connection, rows: Sequence[Arrival]) -> list[Accepted]:
    """Store the arrivals in one transaction and one round trip; idempotent by (account, MessageSid).

    Each owner's rows are one statement under that owner's row-level security.
    """
    new = await _store(conn, rows)
    answers = [Accepted(row.message_id, new=True) for row in rows]
    for index, row in enumerate(rows):
        if row.message_id not in new:
            answers[index] = await _stored_before(conn, row)
    return answers


async def _store(conn: Connection, rows: Sequence[Arrival]) -> set[UUID]:
    told = _told(rows)
    owned: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        owned.setdefault(str(row.owner_id), []).append(_columns(row, told))
    given = [json.dumps(owned), json.dumps(told) if told else None]
    cursor = await conn.execute("SELECT accept FROM pg_temp.accept(%s::json, %s::json)", given, prepare=True)
    return {row["accept"] for row in await cursor.fetchall()}


async def _stored_before(conn: Connection, row: Arrival) -> Accepted:
    """The message that this arrival repeats.

    A message that another process committed while our statement ran is invisible to its snapshot, and the row that
    repeats it is stored by nobody; a new snapshot sees it.
    """
    async with conn.transaction():
        await conn.execute("SELECT set_config('recado.owner_id', %s, true)", [str(row.owner_id)])
        found = await conn.execute(_STORED, [row.owner_id, row.account_id, row.inbound.message_sid])
        before = await found.fetchone()
    if before is None:
        raise RuntimeError("an arrival was neither stored nor found")
    return Accepted(before["id"], new=False)


def _told(rows: Sequence[Arrival]) -> dict[str, dict[str, str]]:
    """By owner, each business-scoped id that came, and the key that it goes by: a number's if one came with it."""
    told: dict[str, dict[str, str]] = {}
    for row in rows:
        key, external_id = row.inbound.identity_key, row.inbound.external_id
        if external_id is not None:
            ids = told.setdefault(str(row.owner_id), {})
            ids[external_id] = ids.get(external_id, key) if key == external_id else key
    return told


def _columns(row: Arrival, told: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    inbound = row.inbound
    own_key = inbound.identity_key
    if own_key == inbound.external_id:
        own_key = told[str(row.owner_id)][own_key]
    return {
        "id": str(row.message_id),
        "account_id": str(row.account_id),
        "number_id": str(row.number.id),
        "provider_sid": inbound.message_sid,
        "own_key": own_key,
        "external_id": inbound.external_id,
        "address": inbound.from_address,
        "profile_name": inbound.profile_name,
        "kind": inbound.kind,
        "body": row.words,
        "parameters": dict(inbound.parameters),
        "received_at": row.received_at.isoformat(),
        "routed": row.number.routed,
        "held": row.held,
        "answered": inbound.opt_out is not None,
        **_asked(row),
        "voice": _has_voice(inbound),
        "media": [
            {
                "id": str(new_id()),
                "ordinal": ordinal,
                "url": one.url,
                "announced_type": one.content_type,
                "file_name": one.file_name,
            }
            for ordinal, one in enumerate(inbound.media)
        ]
        or None,
        "contact_id": str(new_id()),
        "conversation_id": str(new_id()),
    }


def _asked(row: Arrival) -> dict[str, str | None]:
    """What the message asks for as to consent: on WhatsApp only, and as Twilio heard it where it says so."""
    if row.inbound.channel != WHATSAPP:
        return {}
    if row.inbound.opt_out is not None:
        return consent_words.heard(row.inbound.opt_out)
    return consent_words.columns(row.words, tapped=tapped(row.inbound))


def _has_voice(inbound: Inbound) -> bool:
    """Whether there is voice to be made text before the turn; the function `has_voice` says it of what is stored."""
    return inbound.kind == "audio" or any(one.content_type.startswith("audio/") for one in inbound.media)
