"""One message's spans from the rows that its journey left: sampled after the fact, and whole whatever crashed.

Their ids are those of the spans that processes send while they work, so a collector that has some of them gets the same
again. What no row tells is not there: how long a webhook took, a model's single tries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from recado.db.pool import Connection, Row
from recado.ops.trace import find
from recado.tracing import ROOT, Kind, Span, Value, attributes_of, span_id

# The message that began it, and all that has its correlation id.
_MESSAGES = """
SELECT id, conversation_id, correlation_id, direction, kind, status, error_code, received_at FROM messages
WHERE owner_id = %(owner)s AND conversation_id = %(conversation)s AND correlation_id = %(trace)s ORDER BY id
"""
_TURNS = """
SELECT id, model, outcome, rounds, input_tokens, output_tokens, started_at, finished_at FROM turns
WHERE owner_id = %(owner)s AND correlation_id = %(trace)s AND conversation_id = %(conversation)s
  AND id IN (SELECT m.turn_id FROM messages m WHERE m.owner_id = %(owner)s AND m.id = ANY(%(ids)s))
"""
_MEDIA = """
SELECT m.message_id, m.status, m.reason, m.created_at, m.settled_at FROM media m
WHERE m.owner_id = %(owner)s AND m.message_id = ANY(%(ids)s) AND m.settled_at IS NOT NULL
"""
_ATTEMPTS = """
SELECT message_id, part, outcome, error_class, error_code, started_at, finished_at,
       row_number() OVER (PARTITION BY message_id, part ORDER BY id) AS tries
FROM delivery_attempts WHERE owner_id = %(owner)s AND message_id = ANY(%(ids)s) ORDER BY id
"""
_EVENTS = """
SELECT id, at, step, what, message_id, data FROM events
WHERE owner_id = %(owner)s AND correlation_id = %(trace)s AND step IN ('accept', 'confirm') ORDER BY id
"""


async def of_message(platform: Connection, reference: str) -> list[Span]:
    """The spans of the message with this id or MessageSid, and of all that goes with it. Raises NotFound."""
    message = await find(platform, reference)
    told: dict[str, Any] = {
        "owner": message["owner_id"],
        "conversation": message["conversation_id"],
        "trace": message["correlation_id"],
    }
    rows = await (await platform.execute(_MESSAGES, told)).fetchall()
    told["ids"] = [row["id"] for row in rows]
    made = _Made(trace=message["correlation_id"], owner_id=message["owner_id"])
    made.root(rows)
    for row in await (await platform.execute(_EVENTS, told)).fetchall():
        made.event(row)
    for row in await (await platform.execute(_MEDIA, told)).fetchall():
        made.attachment(row)
    for row in await (await platform.execute(_TURNS, told)).fetchall():
        made.turn(row)
    queued = {row["id"]: row["received_at"] for row in rows}
    for row in await (await platform.execute(_ATTEMPTS, told)).fetchall():
        made.attempt(row, queued[row["message_id"]])
    return made.spans


class _Made:
    """The spans of one trace, as they are put together."""

    def __init__(self, *, trace: UUID, owner_id: UUID) -> None:
        self.trace = trace
        self.spans: list[Span] = []
        self._common: dict[str, Value | None] = {"owner_id": str(owner_id), "from_rows": True}

    def root(self, rows: Sequence[Row]) -> None:
        """The span that all others stand under: the message's arrival, or the making of one that answers nobody."""
        first = next((row for row in rows if row["id"] == self.trace), rows[0])
        inbound = first["direction"] == "inbound"
        self._add(
            ROOT,
            first["received_at"],
            first["received_at"],
            name="receive" if inbound else "made",
            parent=None,
            kind="server" if inbound else "internal",
            message_id=str(first["id"]),
            conversation_id=str(first["conversation_id"]),
            status=first["status"],
        )

    def event(self, row: Row) -> None:
        """What `accept` and `confirm` have written down: moments."""
        data = row["data"] or {}
        if row["step"] == "accept":
            of: tuple[object, ...] = ("accept",) if row["message_id"] == self.trace else ("accept", row["id"])
            self._add(of, row["at"], row["at"], outcome=row["what"], held_for=data.get("held_for"))
            return
        failed = row["what"] in ("failed", "undelivered")
        of = ("confirm", row["message_id"], data.get("part"), row["what"])
        self._add(
            of, row["at"], row["at"], failed=failed, kind="server", status=row["what"], code=data.get("error_code")
        )

    def attachment(self, row: Row) -> None:
        """Fetching and understanding what came with a message."""
        of = ("understand", row["message_id"])
        failed = row["reason"] is not None
        self._add(of, row["created_at"], row["settled_at"], failed=failed, outcome=row["status"], reason=row["reason"])

    def turn(self, row: Row) -> None:
        """The turn, and what its model used."""
        self._add(
            ("answer", self.trace),
            row["started_at"],
            row["finished_at"],
            failed=row["outcome"] == "apology",
            outcome=row["outcome"],
            model=row["model"],
            rounds=row["rounds"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
        )

    def attempt(self, row: Row, queued_at: datetime) -> None:
        """A delivery, from when it was queued, and Twilio's POST in it."""
        ended = row["finished_at"] or row["started_at"]
        failed = row["outcome"] != "taken"
        of = ("deliver", row["message_id"], row["part"], row["tries"])
        more: dict[str, Value | None] = {
            "part": row["part"],
            "tries": row["tries"],
            "code": row["error_code"],
            "error_class": row["error_class"],
        }
        self._add(of, queued_at, ended, failed=failed, about={**more, "outcome": row["outcome"]})
        post = (*of, "post")
        begun = row["started_at"]
        self._add(post, begun, ended, name="POST Messages", parent=of, failed=failed, kind="client", about=more)

    def _add(
        self,
        of: tuple[object, ...],
        start: datetime,
        end: datetime,
        *,
        name: str | None = None,
        parent: tuple[object, ...] | None = ROOT,
        failed: bool = False,
        kind: Kind = "internal",
        about: Mapping[str, Value | None] | None = None,
        **attributes: Value | None,
    ) -> None:
        begins = round(start.timestamp() * 1e9)
        self.spans.append(
            Span(
                trace=self.trace,
                id=span_id(self.trace, *of),
                parent=None if parent is None else span_id(self.trace, *parent),
                name=name or str(of[0]),
                start_ns=begins,
                end_ns=max(begins, round(end.timestamp() * 1e9)),
                failed=failed,
                kind=kind,
                attributes=attributes_of({**(about or {}), **attributes, **self._common}),
            )
        )
