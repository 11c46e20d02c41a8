"""An owner's Twilio accounts and numbers as they are shown: never a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from recado.db.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioAccount:
    """A Twilio account without what opens it."""

    id: UUID
    account_sid: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNumber:
    """A number and who answers for it; without `assistant_id` the owner's default assistant."""

    id: UUID
    account_id: UUID
    address: str = field(repr=False)
    status: str
    assistant_id: UUID | None
    created_at: datetime


async def accounts(scope: Scope, *, after: UUID | None, limit: int) -> list[TwilioAccount]:
    """The owner's Twilio accounts after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        """
        SELECT id, account_sid, created_at, updated_at FROM twilio_accounts
        WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s
        """,
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [TwilioAccount(**row) for row in await cursor.fetchall()]


async def numbers(scope: Scope, *, after: UUID | None, limit: int) -> list[ListedNumber]:
    """The owner's numbers after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        """
        SELECT id, account_id, address, status, assistant_id, created_at FROM numbers
        WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s
        """,
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [ListedNumber(**row) for row in await cursor.fetchall()]
