"""An owner's Twilio accounts as they are shown: never a token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from recado.db.scope import Scope
from recado.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioAccount:
    """A Twilio account without what opens it; `rotating` while a second auth token counts beside the first.

    `api_key_sid` is None where messages are sent with the auth token; `proven` once Twilio has confirmed AccountSid and
    token. A removed one is still shown: `removed_why` says whether its owner removed it, or lost it to who proved it.
    `version` grows with every change.
    """

    id: UUID
    account_sid: str
    api_key_sid: str | None
    public_url: str | None
    rotating: bool
    proven: bool
    removed_at: datetime | None
    removed_why: str | None
    version: int
    created_at: datetime
    updated_at: datetime


_LISTED = """
    id, account_sid, api_key_sid, public_url, num_nonnulls(secondary_token, secondary_token_ref) > 0 AS rotating,
    proven_at IS NOT NULL AS proven, removed_at, removed_why, version, created_at, updated_at
"""


async def accounts(scope: Scope, *, after: UUID | None, limit: int) -> list[TwilioAccount]:
    """The owner's Twilio accounts after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM twilio_accounts WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s",  # noqa: S608
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [TwilioAccount(**row) for row in await cursor.fetchall()]


async def account(scope: Scope, account_id: UUID, *, lock: bool = False) -> TwilioAccount:
    """The account as it is shown; with `lock`, nobody else changes it before the commit. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM twilio_accounts WHERE owner_id = %s AND id = %s"  # noqa: S608 - the columns are a constant
        + (" FOR NO KEY UPDATE" if lock else ""),
        [scope.owner_id, account_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no Twilio account {account_id}")
    return TwilioAccount(**row)
