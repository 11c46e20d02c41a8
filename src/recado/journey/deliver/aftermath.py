"""What a failure entails that Twilio tells of a part it took, however we hear of it: called back, asked for or listed.

21610 and 63033 opt the contact out. What is not final, by its class, gives the message back to its delivery: 63016,
outside the window (`late`), what passes by itself, and what the owner can put right (`journey/deliver`).
"""

from __future__ import annotations

from uuid import UUID

from recado.channels.twilio.codes import NOT_FINAL_CODES, OPT_OUT_CODES
from recado.conversations import parts, suppressions
from recado.conversations.happenings import happened
from recado.db.scope import Scope
from recado.journey.deliver.late import OUTSIDE


def opts_out(error_code: str) -> str:
    """The SQL condition that this code means the contact wants no more."""
    return f"{error_code} IN ({', '.join(map(str, sorted(OPT_OUT_CODES)))})"


def entailed(*, owner_id: str, message_id: str, part: str, sid: str, error_code: str) -> str:
    """The SQL expression that does what follows once the part's status was moved, with these expressions for values.

    A code that tells nobody anything to do does nothing. The delivery gets work once for each MessageSid that a part
    had, however often we hear of it: after a retry it may be refused again.
    """
    return f"""
        CASE WHEN {opts_out(error_code)} THEN refused({owner_id}, {message_id}, {part}, {error_code})::text
             WHEN {error_code} IN ({", ".join(map(str, sorted(NOT_FINAL_CODES)))}) THEN (
                SELECT enqueue_delivery(
                    m.owner_id, m.conversation_id, m.id,
                    m.id || CASE {error_code} WHEN {OUTSIDE} THEN ':window:' ELSE ':failed:' END
                         || {part} || ':' || {sid})
                FROM messages m WHERE m.owner_id = {owner_id} AND m.id = {message_id} AND m.status = 'failed')
        END
    """  # noqa: S608 - the expressions are constants


_ENTAILED = "SELECT " + entailed(
    owner_id="%(owner_id)s",
    message_id="%(message_id)s",
    part="%(part)s::smallint",
    sid="%(sid)s::text",
    error_code="%(error_code)s::int",
)


async def apply_status(
    scope: Scope, *, message_id: UUID, part: int, sid: str, status: str, error_code: int | None
) -> None:
    """Move a part's status by what Twilio says of it now, its message's with it, and do what follows from a failure.

    First in its transaction, as `suppressions.refused` is.
    """
    if error_code in OPT_OUT_CODES:
        await suppressions.lock(scope, message_id)
    moved = await parts.move_status(
        scope, message_id=message_id, part=part, sid=sid, status=status, error_code=error_code
    )
    await happened(scope, "confirm", "confirmed", message_id=message_id, status=status, code=error_code, moved=moved)
    if moved and error_code is not None:
        await scope.conn.execute(
            _ENTAILED,
            {
                "owner_id": scope.owner_id,
                "message_id": message_id,
                "part": part,
                "sid": sid,
                "error_code": error_code,
            },
        )
