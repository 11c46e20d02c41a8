"""Numbers: an account's WhatsApp senders, who answers for each, and what waits for one that was not routed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from recado.channels.twilio.addresses import is_whatsapp
from recado.channels.twilio.sids import canonical_sid
from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound, UsageError

ADDRESS = re.compile(r"whatsapp:\+[1-9][0-9]{6,14}")
OTHER_CHANNEL = "what came by another channel than WhatsApp is kept and shown: recado answers on WhatsApp only"
MESSAGING_SERVICE_SID = re.compile(r"MG[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A number as it is shown; without `assistant_id` the owner's default assistant answers.

    With `messaging_service_sid` Twilio sends by that Messaging Service, still from this number. `proven` once Twilio
    has said that the account has it. `version` grows with every change.
    """

    id: UUID
    account_id: UUID
    address: str = field(repr=False)
    status: str
    assistant_id: UUID | None
    messaging_service_sid: str | None
    proven: bool
    version: int
    created_at: datetime


_LISTED = (
    "id, account_id, address, status, assistant_id, messaging_service_sid, proven_at IS NOT NULL AS proven, version, "
    "created_at"
)


async def page(scope: Scope, *, after: UUID | None, limit: int) -> list[Listed]:
    """The owner's numbers after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM numbers WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s",  # noqa: S608 - constant
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [Listed(**row) for row in await cursor.fetchall()]


async def listed(scope: Scope, number_id: UUID, *, lock: bool = False) -> Listed:
    """The number as it is shown; with `lock`, nobody else changes it before the commit. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM numbers WHERE owner_id = %s AND id = %s"  # noqa: S608 - the columns are a constant
        + (" FOR NO KEY UPDATE" if lock else ""),
        [scope.owner_id, number_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no number {number_id}")
    return Listed(**row)


async def by_address(scope: Scope, account_id: UUID, address: str) -> Listed:
    """The account's number of that address, which nobody else changes before the commit. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM numbers "  # noqa: S608 - the columns are a constant
        "WHERE owner_id = %s AND account_id = %s AND address = %s FOR NO KEY UPDATE",
        [scope.owner_id, account_id, address],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound("the account has no such number")
    return Listed(**row)


async def change(scope: Scope, found: Listed, **wanted: object) -> Listed:
    """Give the number what is wanted: `status`, `assistant_id`, `messaging_service_sid`; `found` was read locked.

    Nothing is written where all is as wanted. What came while the number was unrouted is answered once it is active,
    as far as WhatsApp's 24-hour window reaches. Raises UsageError for what is no Messaging Service, Conflict for a
    number of another channel, which nobody can answer by.
    """
    if isinstance(service := wanted.get("messaging_service_sid"), str):
        wanted["messaging_service_sid"] = canonical_sid(service)
    after = replace(found, **wanted)  # type: ignore[arg-type] # mypy does not follow keywords into replace
    if after == found:
        return found
    if not is_whatsapp(found.address):
        raise Conflict(OTHER_CHANNEL)
    if after.messaging_service_sid is not None and not MESSAGING_SERVICE_SID.fullmatch(after.messaging_service_sid):
        raise UsageError("a Messaging Service's SID is MG and 32 hexadecimal digits")
    cursor = await scope.conn.execute(
        f"""
        UPDATE numbers SET status = %s, assistant_id = %s, messaging_service_sid = %s, version = version + 1
        WHERE owner_id = %s AND id = %s RETURNING {_LISTED}
        """,  # noqa: S608 - the columns are a constant
        [after.status, after.assistant_id, after.messaging_service_sid, scope.owner_id, found.id],
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it is locked
    if found.status != "active" and after.status == "active":
        await _release(scope, found.id)
    return Listed(**row)


async def _release(scope: Scope, number_id: UUID) -> None:
    # `ops/recovery` finds these messages without work and enqueues it.
    await scope.conn.execute(
        """
        UPDATE messages m
        SET status = 'received', awaits_media = EXISTS (
            SELECT FROM media WHERE media.owner_id = m.owner_id AND media.message_id = m.id
              AND media.status = 'waiting')
        FROM conversations v
        WHERE v.owner_id = %(owner)s AND m.owner_id = v.owner_id AND v.id = m.conversation_id
          AND v.number_id = %(number)s AND m.status = 'unrouted' AND m.received_at > now() - interval '24 hours'
        """,
        {"owner": scope.owner_id, "number": number_id},
    )


#: So many accounts of an owner, and of all, are asked for their senders in a round; how often, and how often again once
#: Twilio has said that a number is the account's.
_EACH, _MOST = 5, 50
ASKED_EVERY, PROVEN_FOR = timedelta(minutes=15), timedelta(days=1)

# Marked as asked in the statement that finds them: what can't be asked takes its turn again and hides nobody.
_TO_ASK = """
WITH due AS (
    SELECT n.owner_id, n.account_id, min(coalesce(n.asked_at, '-infinity')) AS asked
    FROM numbers n
    JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
    WHERE n.status = 'active' AND starts_with(n.address, 'whatsapp:')
      AND a.proven_at IS NOT NULL AND a.removed_at IS NULL
      AND coalesce(n.asked_at, '-infinity')
          < CASE WHEN n.proven_at IS NULL THEN %(now)s - %(asked_every)s ELSE %(now)s - %(proven_for)s END
    GROUP BY n.owner_id, n.account_id
), turns AS (
    SELECT due.*, row_number() OVER (PARTITION BY owner_id ORDER BY asked) AS nth FROM due
), picked AS (
    SELECT owner_id, account_id FROM turns WHERE nth <= %(each)s ORDER BY nth, asked LIMIT %(most)s
), marked AS (
    UPDATE numbers n SET asked_at = %(now)s FROM picked
    WHERE n.owner_id = picked.owner_id AND n.account_id = picked.account_id
)
SELECT owner_id, account_id FROM picked
"""


async def to_ask_for(platform: Connection, *, now: datetime) -> list[tuple[UUID, UUID]]:
    """Owner and account of those whose numbers Twilio is to be asked for now; owners take turns.

    A proven number is asked for again after a day: it may be another account's by then, or a person's.
    """
    cursor = await platform.execute(
        _TO_ASK,
        {"now": now, "asked_every": ASKED_EVERY, "proven_for": PROVEN_FOR, "each": _EACH, "most": _MOST},
    )
    return [(row["owner_id"], row["account_id"]) for row in await cursor.fetchall()]
