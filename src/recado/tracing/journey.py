"""What happens on the journey, as spans: a subscriber of `happened`, which tells it once and when it is certain."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from recado import tracing
from recado.told import REFUSED, UNDERSTOOD, Told
from recado.tracing import Value

#: Of a happening's details those that a span has: words of closed lists, codes and figures.
_KEPT: Final = (
    *("part", "tries", "code", "error_class", "then", "status", "moved", "new", "held_for", "why"),
    *("messages", "rounds", "model", "input_tokens", "output_tokens", "attachments", "count", "reason", "seconds"),
)
_TURNS: Final = frozenset({"answered", "keyless", "apology", "silent", "budget", "unheard", "loop", "broken"})


def relate(told: Told) -> None:
    """Make it a span, where it is a step of a message whose trace is sent."""
    if not tracing.on():
        return
    trace = told.correlation_id
    if told.step == "accept" and told.what == "accepted":
        _accepted(told, trace)
    elif told.step == "understand" and told.what in UNDERSTOOD:
        failed = told.what == "not_understood"
        _step(told, trace, ("understand", told.message_id), took_s=told.duration_s, failed=failed)
    elif told.step == "answer" and told.what in _TURNS:
        failed = told.what in ("apology", "broken")
        _step(told, trace, ("answer", trace), took_s=told.duration_s, failed=failed)
    elif told.step == "deliver" and (told.what == "sent" or told.what in REFUSED):
        _delivered(told, trace)
    elif told.step == "confirm" and told.what == "confirmed" and told.details.get("moved"):
        status = told.details.get("status")
        of = ("confirm", told.message_id, told.details.get("part"), status)
        failed = status in ("failed", "undelivered")
        _step(told, trace, of, took_s=told.duration_s, failed=failed, kind="server")


def _accepted(told: Told, trace: UUID | None) -> None:
    """The webhook and what storing it took; a repeated one stands under the first."""
    took_s = told.duration_s or 0.0
    whole_s = took_s + told.details.get("received_s", 0.0)
    if told.details.get("new"):
        _step(told, trace, tracing.ROOT, took_s=whole_s, parent=None, kind="server")
        _step(told, trace, ("accept",), took_s=took_s)
    else:
        again = ("receive", "again", tracing.now_ns())
        _step(told, trace, again, took_s=whole_s, kind="server")


def _delivered(told: Told, trace: UUID | None) -> None:
    of = ("deliver", told.message_id, told.details.get("part"), told.details.get("tries"))
    failed = told.what != "sent"
    _step(told, trace, of, took_s=told.age_s, failed=failed)
    if told.duration_s is not None:
        post = (*of, "post")
        _step(told, trace, post, took_s=told.duration_s, name="POST Messages", parent=of, failed=failed, kind="client")


def _step(
    told: Told,
    trace: UUID | None,
    of: tuple[object, ...],
    *,
    took_s: float | None,
    name: str | None = None,
    parent: tuple[object, ...] | None = tracing.ROOT,
    failed: bool = False,
    kind: tracing.Kind = "internal",
) -> None:
    attributes: dict[str, Value | None] = {
        **{key: told.details.get(key) for key in _KEPT},
        "outcome": told.what,
        "owner_id": _text(told.owner_id),
        "conversation_id": _text(told.conversation_id),
        "message_id": _text(told.message_id),
    }
    tracing.write(
        trace, of, took_s=took_s or 0.0, name=name, parent=parent, failed=failed, kind=kind, attributes=attributes
    )


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
