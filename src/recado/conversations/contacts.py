"""Contacts: who wants no messages from the owner."""

from __future__ import annotations

from uuid import UUID

from recado.db.scope import Scope

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
        INSERT INTO suppressions (owner_id, identity_key, reason)
        SELECT c.owner_id, c.identity_key, {reason}
        FROM messages m
        JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
        JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
        WHERE m.owner_id = {owner_id} AND m.id = {message_id}
        ON CONFLICT (owner_id, identity_key) DO NOTHING
    """  # noqa: S608 - the expressions are constants
