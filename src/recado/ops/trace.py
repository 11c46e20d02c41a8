"""One message's whole life, told in the six steps of the journey, from the rows that the journey left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from recado.channels.twilio.codes import CODES
from recado.channels.twilio.sids import canonical_sid
from recado.conversations.holding import CAUSES
from recado.db.pool import Connection, Row
from recado.errors import NotFound, UsageError

MESSAGE_SID = re.compile(r"(SM|MM)[0-9a-f]{32}")
#: The journey's order, for moments that are equal.
STEPS = ("receive", "accept", "understand", "answer", "deliver", "confirm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened: when, at which step, and what in words, without anything a person wrote."""

    at: datetime
    step: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A message, what happened to it, and the messages that answer it; `message` and `replies` are ready for JSON."""

    message: dict[str, Any]
    timeline: tuple[Moment, ...]
    replies: tuple[dict[str, Any], ...]


async def trace(platform: Connection, reference: str, *, content: bool = False) -> Trace:
    """The life of the message with this id or MessageSid; what people wrote and who they are only with `content`.

    An inbound message's timeline goes on into its replies'. Raises NotFound, UsageError for what is neither.
    """
    message = await find(platform, reference)
    inbound = message["direction"] == "inbound"
    replies = await _replies(platform, message) if inbound else []
    sent = replies if inbound else [message]
    parts = await _parts(platform, message["owner_id"], [row["id"] for row in sent])
    timeline = [
        *_arrival(message),
        *await _turn(platform, message),
        *await _events(platform, message, sent),
        *await _attempts(platform, message["owner_id"], sent, parts),
    ]
    timeline.sort(key=lambda moment: (moment.at, STEPS.index(moment.step)))
    return Trace(
        message=_message(message, content=content, parts=None if inbound else parts[message["id"]])
        | ({} if inbound else {"answers": await _answered(platform, message)}),
        timeline=tuple(timeline),
        replies=tuple(_message(reply, content=content, parts=parts[reply["id"]]) for reply in replies),
    )


_MESSAGE = """
SELECT m.*, o.name AS owner, a.account_sid, n.address AS number, c.address AS contact, c.profile_name
FROM messages m
JOIN owners o ON o.id = m.owner_id
JOIN twilio_accounts a ON a.owner_id = m.owner_id AND a.id = m.account_id
JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
"""


async def find(platform: Connection, reference: str) -> Row:
    """The message's row, by its id or MessageSid. Each way in goes through an index, however many there are."""
    reference = canonical_sid(reference.strip())
    if MESSAGE_SID.fullmatch(reference):
        cursor = await platform.execute(
            """
            SELECT m.owner_id, m.id FROM twilio_accounts a
            JOIN messages m ON m.account_id = a.id AND m.provider_sid = %(sid)s
            UNION ALL
            SELECT p.owner_id, p.message_id FROM message_parts p WHERE p.provider_sid = %(sid)s
            """,
            {"sid": reference},
        )
    else:
        try:
            message_id = UUID(reference)
        except ValueError:
            raise UsageError(
                "that is neither a message's id (a UUID) nor a MessageSid (SM or MM and 32 hexadecimal digits)"
            ) from None
        cursor = await platform.execute(
            "SELECT m.owner_id, m.id FROM owners o JOIN messages m ON m.owner_id = o.id AND m.id = %s", [message_id]
        )
    named = await cursor.fetchone()
    if named is None:
        raise NotFound(f"no message {reference}")
    found = await platform.execute(_MESSAGE + "WHERE m.owner_id = %(owner_id)s AND m.id = %(id)s", named)
    row = await found.fetchone()
    if row is None:
        raise NotFound(f"no message {reference}")
    return row


async def _replies(platform: Connection, message: Row) -> list[Row]:
    """What the message's turn answered, and what people wrote in reply to it."""
    cursor = await platform.execute(
        _MESSAGE
        + """
        WHERE m.owner_id = %(owner_id)s AND m.conversation_id = %(conversation_id)s AND m.id > %(id)s
          AND m.direction = 'outbound' AND (m.turn_id = %(turn_id)s OR m.reply_to = %(id)s)
        ORDER BY m.id
        """,
        {name: message[name] for name in ("owner_id", "conversation_id", "id", "turn_id")},
    )
    return await cursor.fetchall()


async def _answered(platform: Connection, message: Row) -> dict[str, Any] | None:
    """The message that this one answers."""
    cursor = await platform.execute(
        "SELECT id, provider_sid, received_at FROM messages WHERE owner_id = %s AND id = %s",
        [message["owner_id"], message["reply_to"]],
    )
    return await cursor.fetchone()


async def _parts(platform: Connection, owner_id: UUID, message_ids: Sequence[UUID]) -> dict[UUID, list[Row]]:
    cursor = await platform.execute(
        """
        SELECT message_id, part, status, provider_sid, error_code, taken_at, length(body) AS length
        FROM message_parts WHERE owner_id = %s AND message_id = ANY(%s) ORDER BY message_id, part
        """,
        [owner_id, list(message_ids)],
    )
    parts: dict[UUID, list[Row]] = {message_id: [] for message_id in message_ids}
    for row in await cursor.fetchall():
        parts[row["message_id"]].append(row)
    return parts


def _arrival(message: Row) -> list[Moment]:
    if message["direction"] != "inbound":
        return []
    return [Moment(at=message["received_at"], step="receive", what="signed webhook arrived")]


async def _turn(platform: Connection, message: Row) -> list[Moment]:
    """The turn that took the message, or that made it."""
    if message["turn_id"] is None:
        return []
    cursor = await platform.execute(
        """
        SELECT t.*, (SELECT count(*) FROM messages m
                     WHERE m.owner_id = t.owner_id AND m.conversation_id = t.conversation_id
                       AND m.turn_id = t.id AND m.direction = 'inbound') AS taken
        FROM turns t WHERE t.owner_id = %s AND t.id = %s
        """,
        [message["owner_id"], message["turn_id"]],
    )
    turn = await cursor.fetchone()
    if turn is None:
        return []
    together = "1 message" if turn["taken"] == 1 else f"{turn['taken']} messages together"
    by = {
        "answered": f"answered by {turn['model']}, {turn['input_tokens']} + {turn['output_tokens']} tokens",
        "keyless": "answered from the knowledge, without a model",
        "apology": "no answer known: apologised and asked for people",
        "silent": "left to people: nothing was answered",
        "budget": "the plan's limit is reached: left to people",
        "unheard": "the voice note could not be made text: asked the contact to write",
    }[turn["outcome"]]
    rounds = f", made {turn['rounds']} times" if turn["rounds"] > 1 else ""
    error = f"; {turn['error']}" if turn["error"] else ""
    moments = [Moment(at=turn["finished_at"], step="answer", what=f"{by}{rounds}{error}")]
    if message["direction"] == "inbound":
        moments.insert(0, Moment(at=turn["started_at"], step="understand", what=f"quiet since; took {together}"))
    return moments


async def _events(platform: Connection, message: Row, sent: Sequence[Row]) -> list[Moment]:
    """What steps noted about the message and its replies; a turn's own note is told by the turn."""
    mine = [message["id"], *(row["id"] for row in sent)]
    cursor = await platform.execute(
        """
        SELECT at, step, what, message_id, data FROM events
        WHERE owner_id = %s AND correlation_id = ANY(%s) AND message_id = ANY(%s)
          AND NOT (step = 'answer' AND what IN ('answered', 'keyless', 'apology', 'silent', 'budget', 'unheard'))
        ORDER BY id
        """,
        [
            message["owner_id"],
            list({message["correlation_id"], *(row["correlation_id"] for row in sent)}),
            list(set(mine)),
        ],
    )
    place = _place(sent)
    return [
        Moment(
            at=row["at"],
            step=row["step"] if row["step"] in STEPS else "answer",
            what=_noted(row, place.get(row["message_id"], "")),
        )
        for row in await cursor.fetchall()
    ]


_ACCEPTED = {
    "received": "stored, its turn enqueued",
    "unrouted": "stored; its number is unrouted, nobody answers yet",
    "limited": "stored; over its limit, kept for people",
    "answered_by_twilio": "stored; Twilio's own opt-out words answered it",
    "opted_out": "the contact wants no more messages",
    "opted_in": "the contact wants messages again",
}


def _noted(event: Row, place: str) -> str:
    data: dict[str, Any] = event["data"] or {}
    if event["step"] == "accept":
        if event["what"] == "held" and data.get("held_for") in CAUSES:
            return f"stored; held: {CAUSES[data['held_for']].means.rstrip('.')}"
        return _ACCEPTED.get(event["what"], str(event["what"]))
    text = str(event["what"]).replace("_", " ")
    if "then" in data:
        text = f"not sent, error class {text}"
    if "part" in data:
        text = f"{place}part {data['part']} {text}"
    code = data.get("error_code") or data.get("code")
    if code:
        text += f" (Twilio {code}: {CODES[code][1].rstrip('.') if code in CODES else 'see its error dictionary'})"
    if "then" in data:
        text += f", then {data['then']}"
    return text


async def _attempts(
    platform: Connection, owner_id: UUID, sent: Sequence[Row], parts: dict[UUID, list[Row]]
) -> list[Moment]:
    """Each try to hand a part to Twilio, and that it was taken; other outcomes are noted as events."""
    cursor = await platform.execute(
        """
        SELECT message_id, part, outcome, started_at, finished_at,
               row_number() OVER (PARTITION BY message_id, part ORDER BY id) AS try
        FROM delivery_attempts WHERE owner_id = %s AND message_id = ANY(%s) ORDER BY id
        """,
        [owner_id, [row["id"] for row in sent]],
    )
    place = _place(sent)
    moments = []
    for row in await cursor.fetchall():
        count = len(parts[row["message_id"]])
        part = f"{place[row['message_id']]}part {row['part']} of {count}"
        again = f", try {row['try']}" if row["try"] > 1 else ""
        moments.append(Moment(at=row["started_at"], step="deliver", what=f"{part} posted to Twilio{again}"))
        if row["outcome"] == "taken" and row["finished_at"] is not None:
            moments.append(Moment(at=row["finished_at"], step="deliver", what=f"{part} taken by Twilio"))
    return moments


def _place(sent: Sequence[Row]) -> dict[UUID, str]:
    """Which reply, said only where there are several."""
    several = len(sent) > 1
    return {row["id"]: f"reply {index}, " if several else "" for index, row in enumerate(sent, start=1)}


def _message(row: Row, *, content: bool, parts: list[Row] | None) -> dict[str, Any]:
    code = row["error_code"]
    shown: dict[str, Any] = {
        "id": row["id"],
        "direction": row["direction"],
        "author": row["author"],
        "kind": row["kind"],
        "status": row["status"],
        "held_for": row["held_for"],
        "error_code": code,
        "error_text": CODES[code][1] if code in CODES else None,
        "provider_sid": row["provider_sid"],
        "owner_id": row["owner_id"],
        "owner": row["owner"],
        "account_sid": row["account_sid"],
        "number": row["number"],
        "conversation_id": row["conversation_id"],
        "correlation_id": row["correlation_id"],
        "received_at": row["received_at"],
        "length": len(row["body"]),
    }
    if content:
        shown |= {"body": row["body"], "contact": row["contact"], "profile_name": row["profile_name"]}
    if parts is not None:
        shown["parts"] = [{name: value for name, value in part.items() if name != "message_id"} for part in parts]
    return shown
