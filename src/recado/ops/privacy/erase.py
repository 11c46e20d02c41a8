"""Erasing a person: their work ends, then all that is here goes, then Twilio deletes; what was done is the proof.

`conversations/erasures.request` has stopped everything that would begin: nothing is sent any more. What is in work ends
by itself, and what waits in the person's lanes is deleted there. Only then do rows and files go, in small transactions
by the map of personal data (`where`), so that nobody waits for them; the SIDs of the messages are kept until Twilio has
deleted them (`at_twilio`). Connections are lent by the statement or transaction: none is kept while storage or Twilio
answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import errors, sql

from recado.conversations.erasures import stop_work
from recado.db.pool import Connection
from recado.identity import kept_answers
from recado.media.storage import Storage, StorageUnavailable, key_of
from recado.ops.privacy import at_twilio, ledger
from recado.ops.privacy.running import TURN_S, EraseDesk, Taken, become, held, note, take, wait
from recado.ops.privacy.where import Found, Table, found_by

log = structlog.get_logger(__name__)

#: Messages that go in one transaction.
BATCH: Final = 500
#: Turns of erasures that one round has at most; each is then due again if it is not done.
MOST: Final = 50
#: Files that are being deleted at once.
AT_ONCE: Final = 10
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


async def carry_on(desk: EraseDesk) -> int:
    """Go on with the erasures that are due, each for a turn of bounded length; answers how many turns that were."""
    for count in range(MOST):
        async with desk.platform.connection() as conn:
            erasure = await take(conn)
        if erasure is None:
            return count
        try:
            await _advance(desk, erasure)
        except StorageUnavailable as error:
            log.warning("storage_unavailable", task="erase", error=type(error).__name__)
            async with desk.platform.connection() as conn:
                await wait(conn, erasure, waits_for="storage", seconds=min(900, 10 * 2 ** min(erasure.tries, 7)))
    return MOST


async def _advance(desk: EraseDesk, erasure: Taken) -> None:
    if erasure.status == "twilio":
        await at_twilio.delete(desk, erasure)
        return
    # First of all: whoever restores a backup from before has to know of it, however far it came.
    await ledger.keep(desk.storage, desk.platform, erasure)
    if erasure.status == "stopping":
        await _stop(desk, erasure)
        return
    try:
        over = await _erase(desk, erasure)
    except errors.ForeignKeyViolation:
        # A message that was being accepted when it was asked for has come to them meanwhile.
        await _become(desk, erasure, "stopping")
    else:
        if not over:
            await _become(desk, erasure, "erasing")


async def _become(desk: EraseDesk, erasure: Taken, status: str) -> None:
    async with desk.platform.connection() as conn:
        await become(conn, erasure, status)


async def _stop(desk: EraseDesk, erasure: Taken) -> None:
    """Delete what waits in the person's lanes; once nothing is in work there, their rows can go."""
    async with desk.platform.connection() as conn, conn.transaction():
        await stop_work(conn, erasure.owner_id, erasure.contact_ids)
        work = await _work(conn, erasure, ended=False)
        await note(conn, erasure, {"workflows": work["gone"]})
        if work["in_work"]:
            await wait(conn, erasure, waits_for="work", seconds=min(5.0, 0.5 * (erasure.tries + 1)))
            return
    async with desk.platform.connection() as conn:
        # Here and not later: it needs the ids of all that goes.
        await _empty_answers(desk, conn, erasure)
        await become(conn, erasure, "erasing")


_WORK: Final = """
SELECT gone, in_work FROM erase_work(ARRAY(
    SELECT lane(owner_id::text, id::text) FROM conversations
    WHERE owner_id = %(owner)s AND contact_id = ANY(%(contacts)s)), %(ended)s)
"""


async def _work(conn: Connection, erasure: Taken, *, ended: bool) -> dict[str, Any]:
    cursor = await conn.execute(_WORK, {"owner": erasure.owner_id, "contacts": erasure.contact_ids, "ended": ended})
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a function answers
    return row


async def _erase(desk: EraseDesk, erasure: Taken) -> bool:
    """Delete what is here; whether it is all of it, for after `TURN_S` it ends.

    Raises ForeignKeyViolation when something has come to them meanwhile.
    """
    until = time.monotonic() + TURN_S
    async with desk.platform.connection() as conn:
        conversations = await _conversations(conn, erasure)
    for conversation_id in conversations:
        while await _erase_messages(desk, erasure, conversation_id):
            if time.monotonic() > until:
                return False
    for start in range(0, len(conversations), BATCH):
        some = conversations[start : start + BATCH]
        async with desk.platform.connection() as conn, conn.transaction():
            await note(conn, erasure, {"workflows": (await _work(conn, erasure, ended=True))["gone"]})
            await note(conn, erasure, await _delete(conn, erasure, found_by("conversation"), some))
    if not await _settle_shared(desk, erasure, until):
        return False
    async with desk.platform.connection() as conn, conn.transaction():
        await note(conn, erasure, await _delete(conn, erasure, found_by("contact"), erasure.contact_ids))
        await conn.execute(_TELL, {"owner": erasure.owner_id, "id": erasure.id, "contacts": erasure.contact_ids})
        await become(conn, erasure, "twilio")
    log.info("erased", task="erase", owner_id=erasure.owner_id, erasure_id=erasure.id)
    return True


async def _conversations(conn: Connection, erasure: Taken) -> list[UUID]:
    cursor = await conn.execute(
        "SELECT id FROM conversations WHERE owner_id = %s AND contact_id = ANY(%s) ORDER BY id",
        [erasure.owner_id, erasure.contact_ids],
    )
    return [row["id"] for row in await cursor.fetchall()]


# For whoever has copied what was theirs: they have to forget it too.
_TELL: Final = """
INSERT INTO events (owner_id, step, what, data)
VALUES (%(owner)s, 'privacy', 'contact_erased',
        jsonb_build_object('erasure_id', %(id)s::uuid, 'contact_ids', to_jsonb(%(contacts)s::uuid[])))
"""


async def _empty_answers(desk: EraseDesk, conn: Connection, erasure: Taken) -> None:
    """Empty the answers that are kept for an `Idempotency-Key` and name the person, or what was said with them."""
    conversations = await _conversations(conn, erasure)
    cursor = await conn.execute(
        """
        SELECT id::text FROM messages WHERE owner_id = %(owner)s AND conversation_id = ANY(%(conversations)s)
        UNION ALL SELECT d.id::text FROM messages m JOIN media d ON d.owner_id = m.owner_id AND d.message_id = m.id
        WHERE m.owner_id = %(owner)s AND m.conversation_id = ANY(%(conversations)s)
        UNION ALL SELECT m.content ->> 'media_id' FROM messages m
        WHERE m.owner_id = %(owner)s AND m.conversation_id = ANY(%(conversations)s) AND m.content ? 'media_id'
        """,
        {"owner": erasure.owner_id, "conversations": conversations},
    )
    theirs = {row["id"] for row in await cursor.fetchall()}
    theirs |= {str(one) for one in (*conversations, *erasure.contact_ids)}
    cursor = await conn.execute(
        "SELECT address FROM contacts WHERE owner_id = %s AND id = ANY(%s)", [erasure.owner_id, erasure.contact_ids]
    )
    addresses = [row["address"] for row in await cursor.fetchall() if row["address"]]

    def names_them(answer: str) -> bool:
        return not theirs.isdisjoint(_UUID.findall(answer)) or any(address in answer for address in addresses)

    emptied = await kept_answers.empty(conn, desk.keyring, erasure.owner_id, names_them)
    await note(conn, erasure, {"kept_answers": emptied})


async def _erase_messages(desk: EraseDesk, erasure: Taken, conversation_id: UUID) -> int:
    """Delete the newest messages of a conversation, for what answers another one goes before it; how many.

    Files go first: the rows say where they are.
    """
    told: dict[str, Any] = {"owner": erasure.owner_id, "conversation": conversation_id, "most": BATCH}
    async with desk.platform.connection() as conn:
        ids = [row["id"] for row in await (await conn.execute(_NEWEST, told)).fetchall()]
        if not ids:
            return 0
        told = {"owner": erasure.owner_id, "erasure": erasure.id, "ids": ids}
        files = await (await conn.execute(_FILES, told)).fetchall()
    # Under its key also where the row was not told yet that it is kept.
    keys = {key_of(erasure.owner_id, row["id"]) for row in files} | {row["storage_key"] for row in files}
    async with held(desk.platform, erasure):
        await _delete_files(desk.storage, keys - {None})
    async with desk.platform.connection() as conn, conn.transaction():
        for remember in (_SIDS, _LOOKUPS, _CONTENTS, _UPLOADS):
            await conn.execute(remember, told)
        await conn.execute(_ANSWERS_TO_NOTHING, told)
        cursor = await conn.execute(
            "SELECT DISTINCT correlation_id FROM messages WHERE owner_id = %(owner)s AND id = ANY(%(ids)s)", told
        )
        correlated = [row["correlation_id"] for row in await cursor.fetchall()]
        gone = await _delete(conn, erasure, found_by("message"), ids, correlated)
        await note(conn, erasure, {**gone, "files": sum(row["storage_key"] is not None for row in files)})
    return len(ids)


async def _delete_files(storage: Storage, keys: Iterable[str]) -> None:
    """Delete these files, some at once. Raises StorageUnavailable when one can't be, once nothing is under way."""
    waiting = iter(keys)

    async def some() -> None:
        for key in waiting:
            await storage.delete(key)

    for error in await asyncio.gather(*(some() for _ in range(AT_ONCE)), return_exceptions=True):
        if error is not None:
            raise error


_NEWEST: Final = """
SELECT id FROM messages WHERE owner_id = %(owner)s AND conversation_id = %(conversation)s
ORDER BY id DESC LIMIT %(most)s
"""
_FILES: Final = """
SELECT id, storage_key FROM media WHERE owner_id = %(owner)s AND message_id = ANY(%(ids)s)
"""
# What Twilio has of them. A message's files are looked for where it may have some.
_SIDS: Final = """
INSERT INTO erasure_items (owner_id, id, erasure_id, account_id, kind, what, has_media, look_again_at)
SELECT owner_id, gen_random_uuid(), %(erasure)s, account_id, 'message', sid, bool_or(has_media), clock_timestamp()
FROM (
    SELECT m.owner_id, m.account_id, m.provider_sid AS sid, EXISTS (
        SELECT FROM media d WHERE d.owner_id = m.owner_id AND d.message_id = m.id) AS has_media
    FROM messages m WHERE m.owner_id = %(owner)s AND m.id = ANY(%(ids)s)
    UNION ALL
    SELECT m.owner_id, m.account_id, sid, p.content IS NOT NULL
    FROM message_parts p JOIN messages m ON m.owner_id = p.owner_id AND m.id = p.message_id
    CROSS JOIN LATERAL unnest(p.retired_sids || p.provider_sid) sid
    WHERE p.owner_id = %(owner)s AND p.message_id = ANY(%(ids)s)
) known WHERE sid IS NOT NULL GROUP BY owner_id, account_id, sid ON CONFLICT DO NOTHING
"""
# Attempts whose outcome nobody saw: Twilio may have a message of which no SID is known.
_LOOKUPS: Final = """
INSERT INTO erasure_items (owner_id, id, erasure_id, account_id, kind, what, data, look_again_at)
SELECT a.owner_id, gen_random_uuid(), %(erasure)s, m.account_id, 'lookup', a.id::text,
       jsonb_build_object('to', coalesce(a.address, c.address), 'from', n.address, 'since', a.started_at),
       clock_timestamp()
FROM delivery_attempts a
JOIN messages m ON m.owner_id = a.owner_id AND m.id = a.message_id
JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
WHERE a.owner_id = %(owner)s AND a.message_id = ANY(%(ids)s) AND a.outcome IN ('started', 'unknown')
ON CONFLICT DO NOTHING
"""
# Buttons and lists that were made for what was said; templates are the owner's.
_CONTENTS: Final = """
INSERT INTO erasure_items (owner_id, id, erasure_id, account_id, kind, what, look_again_at)
SELECT DISTINCT ON (m.account_id, c.content_sid)
       p.owner_id, gen_random_uuid(), %(erasure)s::uuid, m.account_id, 'content', c.content_sid, clock_timestamp()
FROM message_parts p
JOIN messages m ON m.owner_id = p.owner_id AND m.id = p.message_id
JOIN contents c ON c.owner_id = m.owner_id AND c.account_id = m.account_id
               AND c.content_sid = p.content ->> 'content_sid'
WHERE p.owner_id = %(owner)s AND p.message_id = ANY(%(ids)s) AND p.content ? 'content_sid'
ON CONFLICT DO NOTHING
"""
# Files that the owner uploaded to send.
_UPLOADS: Final = """
INSERT INTO erasure_items (owner_id, id, erasure_id, kind, what, look_again_at)
SELECT DISTINCT ON (m.content ->> 'media_id')
       m.owner_id, gen_random_uuid(), %(erasure)s::uuid, 'upload', m.content ->> 'media_id', clock_timestamp()
FROM messages m WHERE m.owner_id = %(owner)s AND m.id = ANY(%(ids)s) AND m.content ? 'media_id'
ON CONFLICT DO NOTHING
"""
_ANSWERS_TO_NOTHING: Final = """
UPDATE messages SET reply_to = NULL
WHERE owner_id = %(owner)s AND reply_to = ANY(%(ids)s) AND reply_to IS NOT NULL AND id <> ALL(%(ids)s)
"""


async def _delete(
    conn: Connection,
    erasure: Taken,
    tables: Sequence[tuple[Table, Found]],
    ids: Sequence[UUID],
    also: Sequence[UUID] = (),
) -> Counter[str]:
    """Delete the rows that these ids lead to, in the map's order; how many of each table.

    `also` are ids by which rows are found that have a column of their own for what they belong to.
    """
    gone: Counter[str] = Counter()
    for table, found in tables:
        wanted = [*ids, *also] if found.by == "correlation_id" else list(ids)
        statement = sql.SQL("DELETE FROM {}.{} WHERE owner_id = %s AND {} = ANY(%s)").format(
            sql.Identifier(table.schema), sql.Identifier(table.name), sql.Identifier(found.by)
        )
        if found.only_if:
            statement += sql.SQL(f" AND {found.only_if}")
        gone[table.name] += (await conn.execute(statement, [erasure.owner_id, wanted])).rowcount
    return gone


async def _settle_shared(desk: EraseDesk, erasure: Taken, until: float) -> bool:
    """Delete uploads and buttons that nobody else was sent; what others have too stays, and is counted.

    Whether they are all settled, for at `until` it ends.
    """
    told = {"owner": erasure.owner_id, "erasure": erasure.id}
    async with desk.platform.connection() as conn:
        uploads = await (await conn.execute(_UPLOADS_LEFT, told)).fetchall()
    for row in uploads:
        if not row["shared"]:
            async with held(desk.platform, erasure):
                await desk.storage.delete(key_of(erasure.owner_id, UUID(row["what"])))
        async with desk.platform.connection() as conn, conn.transaction():
            done = await conn.execute(_UPLOAD_DONE, {**told, "what": row["what"], "shared": row["shared"]})
            await note(conn, erasure, {"uploads_shared" if row["shared"] else "files": done.rowcount})
        if time.monotonic() > until:
            return False
    async with desk.platform.connection() as conn, conn.transaction():
        shared = await conn.execute(_CONTENTS_SHARED, told)
        await conn.execute(_CONTENTS_FORGOTTEN, told)
        await note(conn, erasure, {"contents_shared": shared.rowcount})
    return True


_UPLOADS_LEFT: Final = """
SELECT i.what, EXISTS (SELECT FROM messages m WHERE m.owner_id = i.owner_id AND m.content ? 'media_id'
                       AND m.content ->> 'media_id' = i.what) AS shared
FROM erasure_items i WHERE i.owner_id = %(owner)s AND i.erasure_id = %(erasure)s AND i.kind = 'upload'
"""
_UPLOAD_DONE: Final = """
WITH item AS (
    DELETE FROM erasure_items
    WHERE owner_id = %(owner)s AND erasure_id = %(erasure)s AND kind = 'upload' AND what = %(what)s::text
    RETURNING owner_id, what
), file AS (
    DELETE FROM media d USING item
    WHERE d.owner_id = item.owner_id AND d.id = item.what::uuid AND d.message_id IS NULL AND NOT %(shared)s
)
SELECT FROM item
"""
_CONTENTS_SHARED: Final = """
DELETE FROM erasure_items i WHERE i.owner_id = %(owner)s AND i.erasure_id = %(erasure)s AND i.kind = 'content'
AND EXISTS (SELECT FROM message_parts p JOIN messages m ON m.owner_id = p.owner_id AND m.id = p.message_id
            WHERE p.owner_id = i.owner_id AND p.content ? 'content_sid' AND p.content ->> 'content_sid' = i.what
              AND m.account_id = i.account_id)
"""
# From now on nobody is sent them any more: they are made anew.
_CONTENTS_FORGOTTEN: Final = """
DELETE FROM contents c USING erasure_items i
WHERE i.owner_id = %(owner)s AND i.erasure_id = %(erasure)s AND i.kind = 'content'
  AND c.owner_id = i.owner_id AND c.account_id = i.account_id AND c.content_sid = i.what
"""
