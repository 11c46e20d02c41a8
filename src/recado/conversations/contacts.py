"""Contacts: who writes to the owner, and who wants no messages from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from recado.db.scope import Scope
from recado.errors import NotFound

#: Twilio's codes that mean the contact wants no more messages: opted out, blocked.
OPT_OUT_CODES = frozenset({21610, 63033})


async def suppress(scope: Scope, message_id: UUID, part: int, *, code: int) -> None:
    """The contact of this message wants no more, as Twilio says of its part: nothing is sent to them from now on.

    Unless they have opted in since the part was handed over. First in its transaction, as `lock` is.
    """
    await scope.conn.execute("SELECT refused(%s, %s, %s::smallint, %s)", [scope.owner_id, message_id, part, code])


async def lock(scope: Scope, message_id: UUID) -> None:
    """Until the transaction ends nothing begins to go to the message's contact, and no word of theirs is heeded.

    First in its transaction: it waits for deliveries that are just beginning, and those may wait for the message.
    """
    await scope.conn.execute("SELECT consent_lock(%s, %s)", [scope.owner_id, message_id])


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
