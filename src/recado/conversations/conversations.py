"""Conversations: one thread between a contact and a number, from opening to closing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from recado.db.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation with whom it is held, and between which addresses."""

    id: UUID
    status: str
    number_id: UUID
    account_id: UUID
    number_address: str = field(repr=False)
    contact_address: str = field(repr=False)
    contact_name: str | None = field(repr=False)
    contact_language: str | None
    identity_key: str = field(repr=False)
    last_inbound_at: datetime
    owner_status: str
    suppressed: bool
    budget_told: date | None


_GET = """
SELECT v.id, v.status, v.number_id, n.account_id, n.address AS number_address, c.address AS contact_address,
       c.profile_name AS contact_name, c.language AS contact_language, c.identity_key, v.last_inbound_at,
       o.status AS owner_status, v.budget_told,
       EXISTS (SELECT FROM suppressions s
               WHERE s.owner_id = c.owner_id AND s.identity_key = c.identity_key) AS suppressed
FROM conversations v
JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
JOIN owners o ON o.id = v.owner_id
WHERE v.owner_id = %s AND v.id = %s
"""
_GET_LOCKED = f"{_GET} FOR UPDATE OF v"


async def get(scope: Scope, conversation_id: UUID, *, lock: bool = False) -> Conversation:
    """The conversation; with `lock`, no message is accepted into it and no other turn ends before the commit."""
    query = _GET_LOCKED if lock else _GET
    cursor = await scope.conn.execute(query, [scope.owner_id, conversation_id])
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"conversation {conversation_id}")
    return Conversation(**row)


async def ask_for_people(scope: Scope, conversation_id: UUID, *, why: str) -> None:
    """Mark the conversation as one that people should look at; the assistant stays in it."""
    await scope.conn.execute(
        "UPDATE conversations SET attention = coalesce(attention, %s), version = version + 1 "
        "WHERE owner_id = %s AND id = %s",
        [why, scope.owner_id, conversation_id],
    )


async def tell_of_budget(scope: Scope, conversation_id: UUID, *, period: date) -> None:
    """Remember that the contact was told in this period that only people answer."""
    await scope.conn.execute(
        "UPDATE conversations SET budget_told = %s WHERE owner_id = %s AND id = %s",
        [period, scope.owner_id, conversation_id],
    )
