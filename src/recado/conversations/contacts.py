"""Contacts: who writes to the owner, and who wants no messages from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from recado.db.scope import Scope
from recado.errors import NotFound

#: Twilio's codes that mean the contact wants no more messages: opted out, blocked.
OPT_OUT_CODES = frozenset({21610, 63033})


async def suppress(scope: Scope, message_id: UUID, *, reason: str) -> None:
    """Record that the contact of this message wants no more; nothing is sent to them from now on."""
    await scope.conn.execute(
        suppressing(owner_id="%(owner_id)s", message_id="%(message_id)s", reason="%(reason)s"),
        {"owner_id": scope.owner_id, "message_id": message_id, "reason": reason},
    )


def suppressing(*, owner_id: str, message_id: str, reason: str) -> str:
    """The statement of `suppress` with these SQL expressions for its values."""
    return f"""
        INSERT INTO suppressions (owner_id, identity_key, reason, created_at)
        SELECT c.owner_id, c.identity_key, {reason}, clock_timestamp()
        FROM messages m
        JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
        JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
        WHERE m.owner_id = {owner_id} AND m.id = {message_id}
        ON CONFLICT (owner_id, identity_key) DO UPDATE
        SET reason = excluded.reason, message_id = NULL, created_at = excluded.created_at, confirmation_id = NULL
        WHERE suppressions.reason = 'people'
    """  # noqa: S608 - the expressions are constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person on WhatsApp; `suppressed` says that they want no messages.

    Why: `word` they wrote so, `twilio` with its code, or `people` of the owner decided it.
    """

    id: UUID
    address: str = field(repr=False)
    profile_name: str | None = field(repr=False)
    language: str | None
    suppressed: bool
    suppressed_since: datetime | None
    suppressed_why: str | None
    created_at: datetime


async def page(scope: Scope, *, after: UUID | None, limit: int) -> list[Contact]:
    """The owner's contacts after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"{_SELECT} WHERE c.owner_id = %s AND c.id > %s ORDER BY c.id LIMIT %s",
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [Contact(**row) for row in await cursor.fetchall()]


async def get(scope: Scope, contact_id: UUID) -> Contact:
    """The contact. Raises NotFound."""
    cursor = await scope.conn.execute(f"{_SELECT} WHERE c.owner_id = %s AND c.id = %s", [scope.owner_id, contact_id])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no contact {contact_id}")
    return Contact(**row)


_SELECT = """
SELECT c.id, c.address, c.profile_name, c.language, c.created_at,
       s.identity_key IS NOT NULL AS suppressed, s.created_at AS suppressed_since, s.reason AS suppressed_why
FROM contacts c LEFT JOIN suppressions s ON s.owner_id = c.owner_id AND s.identity_key = c.identity_key
"""
