"""The rules of statuses as functions, which the statements of `conversations/parts` are held to."""

from __future__ import annotations

from collections.abc import Iterable

from recado.delivery.status import FAILURES, RANK, Status


def advance(current: str, incoming: str) -> str:
    """The status after a callback; a word of Twilio's that we do not know changes nothing."""
    return incoming if RANK.get(incoming, -1) > RANK.get(current, -1) else current


def aggregate(statuses: Iterable[str]) -> str:
    """The status of a message sent in parts: `failed` if any part failed, else that of the least advanced.

    Raises `ValueError` when there are no parts.
    """
    parts = list(statuses)
    if any(part in FAILURES for part in parts):
        return Status.FAILED.value
    return min(parts, key=lambda part: RANK.get(part, -1))
