"""confirm: status callbacks move the status of what we sent, forward only, in whatever order they come.

The callback URL carries our message id and the part, so a callback that overtakes the answer to our POST finds its
message, and tells us its MessageSid. A callback about a message that we don't know is answered 200 and forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from fastapi import Request, Response

from recado.channels.port import Receipt
from recado.channels.twilio.parse import parse_receipt
from recado.conversations import parts
from recado.conversations.contacts import OPT_OUT_CODES, suppress
from recado.db.group_commit import GroupCommit, Unavailable
from recado.db.pool import PASSING, Connection
from recado.db.scope import Scope
from recado.errors import Rejected
from recado.journey.receive import TWIML, Door

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """An authentic status callback, with the message and part that its URL names, if it names any."""

    owner_id: UUID
    message_id: UUID | None
    part: int
    receipt: Receipt


def lane_of(row: Callback) -> int:
    """Callbacks about one message stay in one lane, in their order."""
    return hash(row.message_id or row.receipt.message_sid)


Confirmer = GroupCommit[Callback, bool]


async def write(conn: Connection, rows: Sequence[Callback]) -> list[bool]:
    """Move the statuses in one transaction, and answer which rows moved anything."""
    cursors = {}
    async with conn.pipeline(), conn.transaction():
        # In the order of the messages: two processes with callbacks about the same messages can't lock crosswise.
        for index in sorted(range(len(rows)), key=lambda index: str(rows[index].message_id)):
            row, receipt = rows[index], rows[index].receipt
            scope = Scope(conn, row.owner_id)
            await conn.execute("SELECT set_config('recado.owner_id', %s, true)", [str(row.owner_id)])
            cursors[index] = await parts.move(
                scope,
                message_id=row.message_id,
                part=row.part,
                sid=receipt.message_sid,
                status=receipt.status,
                error_code=receipt.error_code,
            )
            if receipt.error_code in OPT_OUT_CODES and row.message_id is not None:
                await suppress(scope, row.message_id, reason=f"twilio {receipt.error_code}")
    return [await cursors[index].fetchone() is not None for index in range(len(rows))]


async def confirm(request: Request, door: Door, confirmer: Confirmer) -> Response:
    """POST /channels/twilio/v1/webhooks/outbound: what became of a message that we sent.

    200 for every authentic callback, also one that changes nothing; 503 when it could not be stored.
    """
    account, parameters = await door.authenticate(request)
    message_id, part = _named(request)
    callback = Callback(
        owner_id=account.owner_id, message_id=message_id, part=part, receipt=parse_receipt(parameters)
    )
    try:
        moved = await confirmer.submit(callback)
    except (Unavailable, *PASSING):
        raise Rejected(503, "database unavailable") from None
    log.debug("confirmed", message_id=message_id, step="confirm", status=callback.receipt.status, moved=moved)
    return TWIML


def _named(request: Request) -> tuple[UUID | None, int]:
    """Message and part from the query that `deliver` put into the callback URL; the signature covers it."""
    try:
        return UUID(request.query_params["message"]), int(request.query_params.get("part", "1"))
    except (KeyError, ValueError):
        return None, 1
