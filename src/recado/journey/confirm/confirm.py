"""confirm: status callbacks move the status of what we sent, forward only, in whatever order they come.

The callback URL carries our message id and the part, so a callback that overtakes the answer to our POST finds its
message, and tells us its MessageSid. A callback about a message that we don't know is answered 200 and forgotten.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import Request, Response

from recado.channels.port import Receipt
from recado.channels.twilio.parse import is_call, parse_receipt
from recado.conversations import parts
from recado.conversations.happenings import happened
from recado.db.group_commit import GroupCommit
from recado.db.pool import BY_KEY, Connection
from recado.journey.deliver.aftermath import entailed, opts_out
from recado.journey.receive.door import TWIML, Door


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


_MOVE, _SETTLE = parts.moving_status(
    "callback.message_id",
    which="p.part = callback.part",
    owner_id="callback.owner_id",
    sid="callback.sid",
    status="callback.status",
    error_code="callback.error_code",
)
_ENTAILED = entailed(
    owner_id="callback.owner_id",
    message_id="callback.message_id",
    part="callback.part",
    sid="callback.sid",
    error_code="callback.error_code",
)

# A function of the lane's session, like `accept`'s: a batch of callbacks is one message to the server and one back. In
# the order of owners and messages, so that two processes don't lock crosswise: parts of the same messages, and at the
# commit what owners used, which is counted in the order of the parts. So a message that only its MessageSid names is
# found before, and the locks of opt-outs are taken first, in the order of their keys.
_FUNCTION = f"""
CREATE OR REPLACE FUNCTION pg_temp.confirm(input json) RETURNS SETOF int LANGUAGE plpgsql AS $confirm$
#variable_conflict use_column
DECLARE
    callback record;
    named jsonb := '{{}}';
    people jsonb := '[]';
    identities bigint[] := '{{}}';
BEGIN
    FOR callback IN
        SELECT * FROM json_to_recordset(input) AS r(
            index int, owner_id uuid, message_id uuid, part smallint, sid text, error_code int)
        WHERE message_id IS NULL OR {opts_out("error_code")}
    LOOP
        PERFORM set_config('recado.owner_id', callback.owner_id::text, true);
        IF callback.message_id IS NULL THEN
            SELECT p.message_id, p.part INTO callback.message_id, callback.part FROM message_parts p
            WHERE p.owner_id = callback.owner_id AND p.provider_sid = callback.sid LIMIT 1;
            CONTINUE WHEN callback.message_id IS NULL;
            named := named || jsonb_build_object(
                callback.index, jsonb_build_array(callback.message_id, callback.part));
        END IF;
        IF {opts_out("callback.error_code")} THEN
            people := people || coalesce((
                SELECT jsonb_build_array(jsonb_build_array(v.owner_id, v.contact_id)) FROM messages m
                JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
                WHERE m.owner_id = callback.owner_id AND m.id = callback.message_id), '[]');
        END IF;
    END LOOP;
    -- Contacts before their keys, as `consent_lock` and `unite` have it.
    FOR callback IN
        SELECT DISTINCT (value ->> 0)::uuid AS owner_id, (value ->> 1)::uuid AS id
        FROM jsonb_array_elements(people) ORDER BY 1, 2
    LOOP
        PERFORM set_config('recado.owner_id', callback.owner_id::text, true);
        identities := identities || (
            SELECT consent_key(c.owner_id, c.identity_key) FROM contacts c
            WHERE c.owner_id = callback.owner_id AND c.id = callback.id FOR KEY SHARE);
    END LOOP;
    PERFORM pg_advisory_xact_lock(key) FROM (SELECT DISTINCT unnest(identities) AS key ORDER BY 1 OFFSET 0) keys;
    FOR callback IN
        SELECT r.index, r.owner_id, coalesce((named -> r.index::text ->> 0)::uuid, r.message_id) AS message_id,
               coalesce((named -> r.index::text ->> 1)::smallint, r.part) AS part, r.sid, r.status, r.error_code
        FROM json_to_recordset(input) AS r(
            index int, owner_id uuid, message_id uuid, part smallint, sid text, status text, error_code int)
        ORDER BY 2, 3, 1
    LOOP
        PERFORM set_config('recado.owner_id', callback.owner_id::text, true);
        IF {opts_out("callback.error_code")} THEN
            PERFORM consent_lock(callback.owner_id, callback.message_id);
        END IF;
        {_MOVE};
        IF FOUND THEN
            RETURN NEXT callback.index;
            {_SETTLE};
            IF callback.error_code IS NOT NULL THEN
                PERFORM {_ENTAILED};
            END IF;
        END IF;
    END LOOP;
END
$confirm$
"""  # noqa: S608 - the statements are constants


async def prepare(conn: Connection) -> None:
    """Make a new connection one that `write` works on."""
    await conn.execute(BY_KEY + _FUNCTION)


async def write(conn: Connection, rows: Sequence[Callback]) -> list[bool]:
    """Move the statuses in one transaction and one round trip, and answer which rows moved anything."""
    cursor = await conn.execute(
        "SELECT confirm FROM pg_temp.confirm(%s::json)",
        [json.dumps([_columns(index, row) for index, row in enumerate(rows)])],
        prepare=True,
    )
    moved = {row["confirm"] for row in await cursor.fetchall()}
    return [index in moved for index in range(len(rows))]


def _columns(index: int, row: Callback) -> dict[str, Any]:
    return {
        "index": index,
        "owner_id": str(row.owner_id),
        "message_id": None if row.message_id is None else str(row.message_id),
        "part": row.part,
        "sid": row.receipt.message_sid,
        "status": row.receipt.status,
        "error_code": row.receipt.error_code,
    }


async def confirm(request: Request, door: Door, confirmer: Confirmer) -> Response:
    """POST /channels/twilio/v1/webhooks/outbound: what became of a message that we sent.

    200 for every authentic callback, also one that changes nothing: of a message of another channel, of a call. Raises
    Unavailable when it could not be stored.
    """
    account, parameters = await door.authenticate(request)
    if is_call(parameters):
        return TWIML
    message_id, part = _named(request)
    callback = Callback(owner_id=account.owner_id, message_id=message_id, part=part, receipt=parse_receipt(parameters))
    received = time.perf_counter()
    moved = await confirmer.submit(callback)
    await happened(
        account.owner_id,
        "confirm",
        "confirmed",
        message_id=message_id,
        correlation_id=_traced(request) or message_id,
        duration_s=time.perf_counter() - received,
        status=callback.receipt.status,
        code=callback.receipt.error_code,
        part=part,
        moved=moved,
    )
    return TWIML


def _traced(request: Request) -> UUID | None:
    """The correlation id, which the callback URL has where traces are sent."""
    try:
        return UUID(request.query_params["trace"])
    except (KeyError, ValueError):
        return None


def _named(request: Request) -> tuple[UUID | None, int]:
    """Message and part from the query that `deliver` put into the callback URL; the signature covers it."""
    try:
        message_id, part = UUID(request.query_params["message"]), int(request.query_params.get("part", "1"))
    except (KeyError, ValueError):
        return None, 1
    # A number that no part can have names none.
    return message_id, part if 0 < part < 2**15 else 0
