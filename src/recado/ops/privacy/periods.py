"""Deleting what an owner keeps no longer: by the periods that the owner has set, in small transactions.

Nobody waits for it: rows that somebody has locked are left for the next round, owners take turns, and each transaction
is short; no connection is kept while files are deleted. What still waits, for an answer or for people, is not deleted
however old it is. `count` says beforehand how much would go: its conditions are those by which it goes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import errors

from recado.db.pool import Pool
from recado.db.scope import Scope
from recado.identity.retention import Periods
from recado.media.storage import Storage, StorageUnavailable, key_of

log = structlog.get_logger(__name__)

#: Rows that go in one transaction, and the pause after it.
BATCH: Final = 300
PAUSE_S: Final = 0.05
#: A lock that is not had so soon is somebody's who does not wait for us.
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '500ms'"

_OLD_MESSAGES: Final = """
m.owner_id = %(owner)s AND m.id < uuid_floor(%(before)s)
AND m.status NOT IN ('received', 'queued', 'held') AND NOT m.awaits_media AND m.look_again_at IS NULL
"""
_OLD_MEDIA: Final = """
d.owner_id = %(owner)s AND d.id < uuid_floor(%(before)s) AND (d.url IS NOT NULL OR d.storage_key IS NOT NULL)
AND d.status <> 'waiting' AND NOT EXISTS (
    SELECT FROM messages m WHERE d.message_id IS NULL AND m.owner_id = d.owner_id AND m.content ? 'media_id'
    AND m.content ->> 'media_id' = d.id::text AND m.id >= uuid_floor(%(before)s))
"""

# What an owner's own system has yet to be told stays until it was.
_TOLD: Final = "e.id < coalesce(events_needed(e.owner_id), 9223372036854775807)"
_COUNTS: Final[Mapping[str, Mapping[str, str]]] = {
    "messages": {
        "messages": f"SELECT count(*) AS n FROM messages m WHERE {_OLD_MESSAGES}",  # noqa: S608 - constants
        "messages_waiting": "SELECT count(*) AS n FROM messages m WHERE m.owner_id = %(owner)s "
        "AND m.id < uuid_floor(%(before)s) AND (m.status IN ('received', 'queued', 'held') OR m.awaits_media "
        "OR m.look_again_at IS NOT NULL)",
    },
    "media": {
        "files": f"SELECT count(*) AS n FROM media d WHERE {_OLD_MEDIA}",  # noqa: S608 - constants
        "bytes": f"SELECT coalesce(sum(kept_bytes(d)), 0) AS n FROM media d WHERE {_OLD_MEDIA}",  # noqa: S608
    },
    "events": {
        "events": "SELECT count(*) AS n FROM events e "  # noqa: S608 - constants
        f"WHERE e.owner_id = %(owner)s AND e.at < %(before)s AND {_TOLD}"
    },
    "audit": {"audit": "SELECT count(*) AS n FROM audit a WHERE a.owner_id = %(owner)s AND a.at < %(before)s"},
}


async def count(scope: Scope, periods: Periods, *, now: datetime) -> dict[str, int]:
    """How much would go now by these periods; `messages_waiting` are old too, and stay."""
    found: dict[str, int] = {}
    for what, days in asdict(periods).items():
        if days is None:
            continue
        told = {"owner": scope.owner_id, "before": now - timedelta(days=days)}
        for name, statement in _COUNTS[what].items():
            row = await (await scope.conn.execute(statement, told)).fetchone()
            found[name] = int(row["n"]) if row is not None else 0
    return found


async def keep_to(platform: Pool, storage: Storage, *, now: datetime) -> Counter[str]:
    """Delete what is older than its owner wants, of all owners; answers how much went.

    Raises StorageUnavailable, but only when everything else has gone: files of others, and what needs no storage.
    """
    async with platform.connection() as conn:
        rows = await (await conn.execute(_PERIODS)).fetchall()
    away: StorageUnavailable | None = None
    waiting = [
        _Run(owner_id=row["owner_id"], what=row["what"], before=now - timedelta(days=row["days"])) for row in rows
    ]
    gone: Counter[str] = Counter()
    while waiting:
        going_on = []
        for run in waiting:
            try:
                more = await _BATCHES[run.what](platform, storage, run)
            except (errors.LockNotAvailable, errors.ForeignKeyViolation):
                continue  # somebody is at it: the next round comes
            except StorageUnavailable as error:
                away = error
                continue
            if more:
                gone += more
                going_on.append(run)
            await asyncio.sleep(PAUSE_S)
        waiting = going_on
    if gone:
        log.info("period_over", task="retention", rows=sum(gone.values()))
    if away is not None:
        raise away
    return gone


# First what needs no storage: one that does not answer would be waited for.
_PERIODS: Final = """
SELECT owner_id, what, days FROM retention ORDER BY what IN ('messages', 'media'), owner_id, what
"""


class _Run:
    """How far one kind of one owner is: what is behind `after` was looked at."""

    __slots__ = ("after", "before", "owner_id", "what")

    def __init__(self, *, owner_id: UUID, what: str, before: datetime) -> None:
        self.owner_id = owner_id
        self.what = what
        self.before = before
        self.after = UUID(int=0)

    @property
    def told(self) -> dict[str, Any]:
        return {"owner": self.owner_id, "before": self.before, "after": self.after, "most": BATCH}


_MESSAGES: Final = f"""
SELECT m.id FROM messages m WHERE {_OLD_MESSAGES} AND m.id > %(after)s ORDER BY m.id LIMIT %(most)s
"""  # noqa: S608 - constants
_MESSAGES_LOCKED: Final = f"""
SELECT m.id, m.turn_id, m.conversation_id FROM messages m
WHERE m.id = ANY(%(ids)s) AND {_OLD_MESSAGES} ORDER BY m.id FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants


async def _messages(platform: Pool, storage: Storage, run: _Run) -> Counter[str]:
    """The oldest messages with what belongs to them, then conversations and contacts of whom nothing is left.

    Files go first, outside the transaction: what is left of a run that ends here is deleted by the next.
    """
    async with platform.connection() as conn:
        found = [row["id"] for row in await (await conn.execute(_MESSAGES, run.told)).fetchall()]
        if not found:
            return Counter()
        files = await (await conn.execute(_FILES_OF, {**run.told, "ids": found})).fetchall()
    for row in files:
        await storage.delete(key_of(run.owner_id, row["id"]))
    async with platform.connection() as conn, conn.transaction():
        await conn.execute(_LOCK_TIMEOUT)
        rows = await (await conn.execute(_MESSAGES_LOCKED, {**run.told, "ids": found})).fetchall()
        told = {**run.told, "ids": [row["id"] for row in rows]}
        gone = Counter(messages=len(rows))
        for statement in _WITH_MESSAGES:
            await conn.execute(statement, told)
        told["turns"] = [one for row in rows for one in (row["turn_id"], row["id"]) if one is not None]
        await conn.execute(_TURNS, told)
        told["conversations"] = list({row["conversation_id"] for row in rows})
        people = await (await conn.execute(_CONVERSATIONS, told)).fetchall()
        gone["conversations"] = len(people)
        told["contacts"] = list({row["contact_id"] for row in people})
        gone["contacts"] = (await conn.execute(_CONTACTS, told)).rowcount
    run.after = found[-1]
    return gone


_FILES_OF: Final = """
SELECT d.id FROM media d
WHERE d.owner_id = %(owner)s AND d.message_id = ANY(%(ids)s) AND d.message_id IS NOT NULL
"""
_WITH_MESSAGES: Final = (
    "DELETE FROM delivery_attempts WHERE owner_id = %(owner)s AND message_id = ANY(%(ids)s)",
    "DELETE FROM message_parts WHERE owner_id = %(owner)s AND message_id = ANY(%(ids)s)",
    "DELETE FROM media WHERE owner_id = %(owner)s AND message_id = ANY(%(ids)s) AND message_id IS NOT NULL",
    """UPDATE messages SET reply_to = NULL
    WHERE owner_id = %(owner)s AND reply_to = ANY(%(ids)s) AND reply_to IS NOT NULL AND id <> ALL(%(ids)s)""",
    "DELETE FROM messages WHERE owner_id = %(owner)s AND id = ANY(%(ids)s)",
)
_TURNS: Final = """
DELETE FROM turns t WHERE t.owner_id = %(owner)s AND t.id = ANY(%(turns)s) AND NOT EXISTS (
    SELECT FROM messages m WHERE m.owner_id = t.owner_id AND m.turn_id = t.id AND m.turn_id IS NOT NULL)
"""
# One that people have is theirs, however old; one that a message is just coming to is locked.
_CONVERSATIONS: Final = """
DELETE FROM conversations v USING (
    SELECT id FROM conversations c
    WHERE c.owner_id = %(owner)s AND c.id = ANY(%(conversations)s) AND c.status <> 'handoff'
      AND coalesce(c.last_inbound_at, c.opened_at) < %(before)s
      AND NOT EXISTS (SELECT FROM messages m WHERE m.owner_id = c.owner_id AND m.conversation_id = c.id)
      AND NOT EXISTS (SELECT FROM turns t WHERE t.owner_id = c.owner_id AND t.conversation_id = c.id)
    FOR UPDATE SKIP LOCKED) empty
WHERE v.owner_id = %(owner)s AND v.id = empty.id RETURNING v.contact_id
"""
# That somebody wants no messages is known by their row's identity: they stay.
_CONTACTS: Final = """
DELETE FROM contacts c USING (
    SELECT id FROM contacts p
    WHERE p.owner_id = %(owner)s AND p.id = ANY(%(contacts)s) AND p.erasure_id IS NULL
      AND NOT EXISTS (SELECT FROM conversations v WHERE v.owner_id = p.owner_id AND v.contact_id = p.id)
      AND NOT EXISTS (SELECT FROM suppressions s WHERE s.owner_id = p.owner_id AND s.identity_key = p.identity_key)
    FOR UPDATE SKIP LOCKED) nobody
WHERE c.owner_id = %(owner)s AND c.id = nobody.id
"""

_MEDIA: Final = f"""
SELECT d.id FROM media d
WHERE {_OLD_MEDIA} AND d.id > %(after)s ORDER BY d.id LIMIT %(most)s
"""  # noqa: S608 - constants
# That something came stays with its message; an upload belongs to none.
_EXPIRE: Final = """
UPDATE media SET status = 'refused', reason = 'expired', url = NULL, file_name = NULL, sha256 = NULL, text = NULL,
                 storage_key = NULL
WHERE owner_id = %(owner)s AND id = ANY(%(ids)s) AND message_id IS NOT NULL
"""
_UPLOADS: Final = "DELETE FROM media WHERE owner_id = %(owner)s AND id = ANY(%(ids)s) AND message_id IS NULL"


async def _media(platform: Pool, storage: Storage, run: _Run) -> Counter[str]:
    """The oldest files, and what documents said; of uploads those that were not sent lately."""
    async with platform.connection() as conn:
        rows = await (await conn.execute(_MEDIA, run.told)).fetchall()
    if not rows:
        return Counter()
    for row in rows:
        await storage.delete(key_of(run.owner_id, row["id"]))
    told = {**run.told, "ids": [row["id"] for row in rows]}
    async with platform.connection() as conn, conn.transaction():
        await conn.execute(_LOCK_TIMEOUT)
        await conn.execute(_EXPIRE, told)
        await conn.execute(_UPLOADS, told)
    run.after = rows[-1]["id"]
    return Counter(files=len(rows))


# The oldest come first by their ids; where one is young enough, those after it are.
_EVENTS: Final = f"""
WITH oldest AS (SELECT id, at FROM events WHERE owner_id = %(owner)s ORDER BY id LIMIT %(most)s)
DELETE FROM events e USING oldest
WHERE e.owner_id = %(owner)s AND e.id = oldest.id AND oldest.at < %(before)s AND {_TOLD}
"""  # noqa: S608 - constants
_AUDIT: Final = """
WITH oldest AS (SELECT id, at FROM audit WHERE owner_id = %(owner)s ORDER BY id LIMIT %(most)s)
DELETE FROM audit a USING oldest
WHERE a.owner_id = %(owner)s AND a.id = oldest.id AND oldest.at < %(before)s
"""


async def _events(platform: Pool, _storage: Storage, run: _Run) -> Counter[str]:
    async with platform.connection() as conn:
        return +Counter(events=(await conn.execute(_EVENTS, run.told)).rowcount)


async def _audit(platform: Pool, _storage: Storage, run: _Run) -> Counter[str]:
    async with platform.connection() as conn:
        return +Counter(audit=(await conn.execute(_AUDIT, run.told)).rowcount)


_BATCHES: Final[Mapping[str, Callable[[Pool, Storage, _Run], Awaitable[Counter[str]]]]] = {
    "messages": _messages,
    "media": _media,
    "events": _events,
    "audit": _audit,
}


async def sweep(platform: Pool, storage: Storage, *, now: datetime) -> None:
    """As `keep_to`; a storage that is away is no error, the next round comes."""
    try:
        await keep_to(platform, storage, now=now)
    except StorageUnavailable as error:
        log.warning("storage_unavailable", task="retention", error=type(error).__name__)
