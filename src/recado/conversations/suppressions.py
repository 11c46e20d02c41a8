"""Suppressions: who wants no messages, because they said so, because Twilio says so, or because people decided it.

An opt-out holds until the contact opts in again. Nothing begins to go to a suppressed contact but the one message that
confirms their opt-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal
from uuid import UUID

from recado.db.scope import Scope
from recado.errors import Conflict, NotFound

Change = Literal["opted_out", "opted_in"]

#: For `deliver`, whose statement has the message as `m`: no opt-out of its contact is committed before this
#: transaction ends, and every statement after this one sees those that were. `contacts` must be joined as `c`.
SHARE: Final = "pg_advisory_xact_lock_shared(consent_key(c.owner_id, c.identity_key))"


async def refused(scope: Scope, message_id: UUID, part: int, *, code: int) -> None:
    """The contact of this message wants no more, as Twilio says of its part: nothing is sent to them from now on.

    Unless they have opted in since the part was handed over. First in its transaction, as `lock` is.
    """
    await scope.conn.execute("SELECT refused(%s, %s, %s::smallint, %s)", [scope.owner_id, message_id, part, code])


async def lock(scope: Scope, message_id: UUID) -> None:
    """Until the transaction ends nothing begins to go to the message's contact, and no word of theirs is heeded.

    First in its transaction: it waits for deliveries that are just beginning, and those may wait for the message.
    """
    await scope.conn.execute("SELECT consent_lock(%s, %s)", [scope.owner_id, message_id])


async def changes(scope: Scope, message_ids: Sequence[UUID]) -> dict[UUID, Change]:
    """Which of the contact's messages opted them out or in, in the order in which it happened."""
    cursor = await scope.conn.execute(
        """
        SELECT message_id, what FROM events
        WHERE owner_id = %s AND correlation_id = ANY(%s) AND step = 'accept' AND what IN ('opted_out', 'opted_in')
        ORDER BY id
        """,
        [scope.owner_id, list(message_ids)],
    )
    return {row["message_id"]: row["what"] for row in await cursor.fetchall()}


async def may_confirm(scope: Scope, identity_key: str, message_id: UUID, change: Change) -> bool:
    """Whether this message's change still stands and was not confirmed; locks the suppression that it made."""
    cursor = await scope.conn.execute(
        "SELECT message_id, confirmation_id FROM suppressions WHERE owner_id = %s AND identity_key = %s FOR UPDATE",
        [scope.owner_id, identity_key],
    )
    row = await cursor.fetchone()
    if row is None:
        return change == "opted_in"
    return change == "opted_out" and row["message_id"] == message_id and row["confirmation_id"] is None


async def let_through(scope: Scope, identity_key: str, confirmation_id: UUID) -> None:
    """Exactly that message goes to the contact although they want no more: it confirms that they don't."""
    await scope.conn.execute(
        "UPDATE suppressions SET confirmation_id = %s WHERE owner_id = %s AND identity_key = %s",
        [confirmation_id, scope.owner_id, identity_key],
    )


async def demand(scope: Scope, conversation_id: UUID) -> None:
    """Raise Conflict when the conversation's contact wants no messages: nothing should be written to them."""
    cursor = await scope.conn.execute(
        """
        SELECT s.created_at, s.reason FROM conversations v
        JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
        JOIN suppressions s ON s.owner_id = c.owner_id AND s.identity_key = c.identity_key
        WHERE v.owner_id = %s AND v.id = %s
        """,
        [scope.owner_id, conversation_id],
    )
    row = await cursor.fetchone()
    if row is not None:
        raise Conflict(
            f"the contact wants no messages since {row['created_at']:%Y-%m-%d %H:%M} UTC ({row['reason']}): "
            "only they can change that"
        )


async def suppress(scope: Scope, contact_id: UUID) -> None:
    """Send the contact no more, by people's decision; who is suppressed already stays so. Raises NotFound.

    What the contact says later takes its place.
    """
    identity_key = await _identity(scope, contact_id)
    await scope.conn.execute(
        "SELECT pg_advisory_xact_lock(consent_key(%(owner)s, %(key)s))", {"owner": scope.owner_id, "key": identity_key}
    )
    await scope.conn.execute(
        "INSERT INTO suppressions (owner_id, identity_key, reason, created_at) "
        "VALUES (%s, %s, 'people', clock_timestamp()) ON CONFLICT (owner_id, identity_key) DO NOTHING",
        [scope.owner_id, identity_key],
    )


async def allow(scope: Scope, contact_id: UUID) -> None:
    """Take back what `suppress` did. Raises NotFound; Conflict for what the contact or WhatsApp said: people can't."""
    identity_key = await _identity(scope, contact_id)
    await scope.conn.execute(
        "DELETE FROM suppressions WHERE owner_id = %s AND identity_key = %s AND reason = 'people'",
        [scope.owner_id, identity_key],
    )
    cursor = await scope.conn.execute(
        "SELECT reason FROM suppressions WHERE owner_id = %s AND identity_key = %s", [scope.owner_id, identity_key]
    )
    row = await cursor.fetchone()
    if row is not None:
        raise Conflict(f"the contact opted out ({row['reason']}): only they can opt in again, by writing so")


async def _identity(scope: Scope, contact_id: UUID) -> str:
    cursor = await scope.conn.execute(
        # What the contact is known by stays until the commit.
        "SELECT identity_key FROM contacts WHERE owner_id = %s AND id = %s AND erasure_id IS NULL FOR KEY SHARE",
        [scope.owner_id, contact_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no contact {contact_id}")
    identity_key: str = row["identity_key"]
    return identity_key
