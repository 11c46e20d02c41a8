"""What is posted of an event, and how it is signed: https://www.standardwebhooks.com.

The body holds the event as `GET /v1/events` gives it: ids, words and times, nothing that anybody wrote. Who needs the
content asks the API for it by its id, with a key that can be revoked.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from standardwebhooks import Webhook

from recado.conversations.events import Event

#: The type of what the test button posts, which no event has.
TEST: Final = "webhooks.test"
#: Bytes of a secret; the standard asks for 24 to 64.
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is posted: `id` is the event's and the same however often it is posted."""

    id: str
    type: str
    body: str = field(repr=False)


def of_event(owner_id: UUID, event: Event) -> Letter:
    """The letter that tells of an event. Its id has the time in it: after a restore numbers are given again."""
    data = {
        "id": str(event.id),
        "at": _time(event.at),
        "step": event.step,
        "what": event.what,
        "conversation_id": _text(event.conversation_id),
        "message_id": _text(event.message_id),
        "correlation_id": _text(event.correlation_id),
        "data": event.data,
    }
    stamp = int(event.at.timestamp() * 1_000_000)
    return _letter(f"evt_{event.id}_{stamp:x}", type_of(event), event.at, owner_id, data)


def of_test(owner_id: UUID, webhook_id: UUID, *, now: datetime) -> Letter:
    """What the test button posts."""
    return _letter(f"test_{secrets.token_hex(12)}", TEST, now, owner_id, {"webhook_id": str(webhook_id)})


def type_of(event: Event) -> str:
    """The type by which endpoints choose: the step, and what happened there."""
    return f"{event.step}.{event.what}"


def wanted(types: Sequence[str], type_: str) -> bool:
    """Whether an endpoint that asked for these types gets this one: none asks for all, `deliver.*` for a step's."""
    return not types or type_ in types or f"{type_.partition('.')[0]}.*" in types


def new_secret() -> str:
    """A new signing secret as the standard writes it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def headers(letter: Letter, signing: Sequence[str], *, now: datetime) -> dict[str, str]:
    """The headers that sign the letter with each of the secrets, at this moment: a receiver refuses an old one."""
    at = now.astimezone(UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": letter.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(letter.id, at, letter.body) for secret in signing),
    }


def _letter(id_: str, type_: str, at: datetime, owner_id: UUID, data: Mapping[str, object]) -> Letter:
    body = {"type": type_, "timestamp": _time(at), "owner_id": str(owner_id), "data": dict(data)}
    return Letter(id=id_, type=type_, body=json.dumps(body, ensure_ascii=False, separators=(",", ":")))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
