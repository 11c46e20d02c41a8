"""Erasures: a person who is to be forgotten, from the request to its proof.

A request takes effect with its commit: nothing is sent to the person from then on, no work of theirs goes on, and what
they write next is a new contact's. What is done afterwards is in `ops/privacy`. The rows stay: they are the ledger of
who was erased, by keyed hashes alone, and are replayed after a backup was restored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from recado.conversations import erased
from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.db.secrets import Keyring
from recado.errors import NotFound
from recado.ids import new_id

Status = Literal["stopping", "erasing", "twilio", "done", "incomplete"]
#: While an erasure is one of these, a worker goes on with it.
OPEN: Final = ("stopping", "erasing", "twilio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An erasure as it stands.

    `stopping`: what is in work for the person ends. `erasing`: their rows and files go. `twilio`: nothing is left here,
    Twilio deletes. `done`: nothing is left anywhere that is ours to delete; `incomplete`: something is left at Twilio,
    which did not let it be deleted in the time that it was tried. `waits_for` is a word for what holds it up; `counts`
    says what was deleted, or kept and why.
    """

    id: UUID
    contact_ids: list[UUID]
    status: Status
    requested_at: datetime
    erased_at: datetime | None
    finished_at: datetime | None
    look_again_at: datetime
    tries: int
    waits_for: str | None
    counts: dict[str, int]
    suppression_kept: bool
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What an erasure could not delete, or has not yet: how many of a kind, and Twilio's code for why."""

    kind: str
    status: str
    code: int | None
    count: int


_COLUMNS = (
    "id, contact_ids, status, requested_at, erased_at, finished_at, look_again_at, tries, waits_for, counts, "
    "suppressed_why IS NOT NULL AS suppression_kept, replayed"
)


async def get(scope: Scope, erasure_id: UUID) -> Erasure:
    """The erasure. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM erasures WHERE owner_id = %s AND id = %s",  # noqa: S608 - the columns are a constant
        [scope.owner_id, erasure_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no erasure {erasure_id}")
    return Erasure(**row)


async def page(scope: Scope, *, before: UUID | None, limit: int) -> list[Erasure]:
    """The owner's erasures before that id, newest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM erasures WHERE owner_id = %s AND id < %s ORDER BY id DESC LIMIT %s",  # noqa: S608
        [scope.owner_id, before or UUID(int=2**128 - 1), limit + 1],
    )
    return [Erasure(**row) for row in await cursor.fetchall()]


async def left(scope: Scope, erasure_id: UUID) -> list[Left]:
    """What of the erasure is not deleted, by kind and reason."""
    cursor = await scope.conn.execute(
        """
        SELECT kind, status, code, count(*) AS count FROM erasure_items WHERE owner_id = %s AND erasure_id = %s
        GROUP BY kind, status, code ORDER BY kind, status, code
        """,
        [scope.owner_id, erasure_id],
    )
    return [Left(**row) for row in await cursor.fetchall()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The contacts who are one person, and everything that they are known by."""

    contact_ids: list[UUID]
    identities: list[str] = field(repr=False)


_PERSON = """
WITH RECURSIVE person(id) AS (
    SELECT id FROM contacts WHERE owner_id = %(owner)s AND id = %(id)s AND erasure_id IS NULL
    UNION
    SELECT other.id FROM person CROSS JOIN LATERAL (
        SELECT c.same_as AS id FROM contacts c
        WHERE c.owner_id = %(owner)s AND c.id = person.id AND c.same_as IS NOT NULL
        UNION ALL
        SELECT c.id FROM contacts c
        WHERE c.owner_id = %(owner)s AND c.same_as = person.id AND c.same_as IS NOT NULL
    ) other
)
SELECT c.id, c.identity_key, c.external_id FROM contacts c
WHERE c.owner_id = %(owner)s AND c.id = ANY(ARRAY(SELECT id FROM person)) AND c.erasure_id IS NULL
ORDER BY c.id
"""
_PERSON_LOCKED = f"{_PERSON} FOR UPDATE OF c"


async def person(scope: Scope, contact_id: UUID, *, lock: bool = False) -> Person:
    """The contact, with those who are the same person under another number. Raises NotFound.

    With `lock` nothing of theirs changes before the commit. One who is being erased is nobody any more.
    """
    cursor = await scope.conn.execute(_PERSON_LOCKED if lock else _PERSON, {"owner": scope.owner_id, "id": contact_id})
    rows = await cursor.fetchall()
    if not rows:
        raise NotFound(f"no contact {contact_id}")
    known = {row["identity_key"]: None for row in rows} | {row["external_id"]: None for row in rows}
    return Person(contact_ids=[row["id"] for row in rows], identities=[identity for identity in known if identity])


async def of_contact(scope: Scope, contact_id: UUID) -> Erasure | None:
    """The contact's erasure, if they are or were erased."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM erasures WHERE owner_id = %s AND contact_ids @> ARRAY[%s::uuid] "  # noqa: S608
        "ORDER BY id DESC LIMIT 1",
        [scope.owner_id, contact_id],
    )
    row = await cursor.fetchone()
    return Erasure(**row) if row is not None else None


async def request(
    scope: Scope, keyring: Keyring, contact_id: UUID, *, now: datetime, replayed: bool = False
) -> tuple[Erasure, bool]:
    """Have the person erased who is this contact; answers the erasure, and whether it is new or begins again.

    Asked again it is the same one; where something was left at Twilio, that is tried again. Raises NotFound. Locks as
    `unite` does: contacts, conversations, consent.
    """
    if (known := await of_contact(scope, contact_id)) is not None:
        return (await _try_again(scope, known), True) if known.status == "incomplete" else (known, False)
    try:
        whole = await person(scope, contact_id, lock=True)
    except NotFound:
        # Somebody else asked for it while this waited.
        if (known := await of_contact(scope, contact_id)) is not None:
            return known, False
        raise
    key = await erased.ensure_key(scope, keyring)
    hashes = [erased.digest(key, identity) for identity in whole.identities]
    await scope.conn.execute(_LOCK_OPEN, [scope.owner_id, whole.contact_ids])
    await scope.conn.execute(_LOCK_CONSENT, {"owner": scope.owner_id, "identities": whole.identities})
    why = await erased.keep_suppressions(scope, whole.identities, hashes)
    erasure_id = new_id()
    await scope.conn.execute(_BECOME_NOBODY, [erasure_id, scope.owner_id, whole.contact_ids])
    await stop_work(scope.conn, scope.owner_id, whole.contact_ids)
    await scope.conn.execute(
        """
        INSERT INTO erasures (owner_id, id, contact_ids, identity_hashes, status, requested_at, look_again_at,
                              suppressed_why, replayed)
        VALUES (%s, %s, %s, %s, 'stopping', %s, clock_timestamp(), %s, %s)
        """,
        [scope.owner_id, erasure_id, whole.contact_ids, hashes, now, why, replayed],
    )
    return await get(scope, erasure_id), True


_LOCK_OPEN = """
SELECT FROM conversations WHERE owner_id = %s AND contact_id = ANY(%s) AND status <> 'closed' ORDER BY id FOR UPDATE
"""
# After this commit no attempt at a delivery begins: each looks at its contact under this lock.
_LOCK_CONSENT = """
SELECT pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT consent_key(%(owner)s, identity) AS key FROM unnest(%(identities)s::text[]) identity
    ORDER BY 1 OFFSET 0
) keys
"""
# Whoever is known by what they were known by is another contact from now on.
_BECOME_NOBODY = """
UPDATE contacts SET erasure_id = %s, identity_key = 'erasing:' || id, external_id = NULL, profile_name = NULL,
                    version = version + 1
WHERE owner_id = %s AND id = ANY(%s)
"""


async def stop_work(conn: Connection, owner_id: UUID, contact_ids: Sequence[UUID]) -> int:
    """Close these contacts' conversations, and leave nothing in them that waits; answers how many were open.

    `conn` is in a transaction that sees the owner's rows. Idempotent: a message that was being accepted while the
    erasure was asked for may have opened one more.
    """
    told: Mapping[str, Any] = {"owner": owner_id, "contacts": list(contact_ids)}
    closed = await conn.execute(_CLOSE, told)
    await conn.execute(_SETTLE, told)
    await conn.execute(_SETTLE_MEDIA, told)
    return closed.rowcount


_CLOSE = """
UPDATE conversations SET status = 'closed', close_reason = 'erased', closed_at = clock_timestamp(), attention = NULL,
                         version = version + 1
WHERE owner_id = %(owner)s AND contact_id = ANY(%(contacts)s) AND status <> 'closed'
"""
_OF_THEM = """
conversation_id = ANY(ARRAY(SELECT id FROM conversations
                            WHERE owner_id = %(owner)s AND contact_id = ANY(%(contacts)s)))
"""
_SETTLE = f"""
UPDATE messages
SET status = CASE direction WHEN 'inbound' THEN 'answered' ELSE 'failed' END, held_for = NULL, awaits_media = false,
    look_again_at = NULL, reason = CASE direction WHEN 'outbound' THEN 'erased' ELSE reason END
WHERE owner_id = %(owner)s AND {_OF_THEM}
  AND (status IN ('received', 'queued', 'held') OR awaits_media OR look_again_at IS NOT NULL)
"""  # noqa: S608 - constants
_SETTLE_MEDIA = f"""
UPDATE media SET status = 'refused', reason = 'erased', settled_at = clock_timestamp()
WHERE owner_id = %(owner)s AND (status = 'waiting' OR status = 'failed' AND reason = 'late')
  AND message_id = ANY(ARRAY(SELECT id FROM messages WHERE owner_id = %(owner)s AND {_OF_THEM}))
"""  # noqa: S608 - constants


async def _try_again(scope: Scope, known: Erasure) -> Erasure:
    """What was left is waited for once more."""
    await scope.conn.execute(
        "UPDATE erasure_items SET status = 'waiting', tries = 0, look_again_at = clock_timestamp() "
        "WHERE owner_id = %s AND erasure_id = %s AND status = 'left'",
        [scope.owner_id, known.id],
    )
    await scope.conn.execute(
        "UPDATE erasures SET status = 'twilio', tries = 0, finished_at = NULL, waits_for = NULL, "
        "look_again_at = clock_timestamp() WHERE owner_id = %s AND id = %s",
        [scope.owner_id, known.id],
    )
    return await get(scope, known.id)
