"""What the control API answers, as frozen dataclasses: bubbles, calls, webhooks, templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFile:
    """A file of a message; `url` is where the phone shows it, below the simulator's address."""

    sid: str
    content_type: str
    file_name: str
    size_bytes: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPlace:
    """A pin on the map."""

    latitude: float
    longitude: float
    label: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownChoice:
    """A button, or an item of a list; `does` is `reply`, `title`, `item`, or `url`, `phone`, `code`."""

    id: str
    title: str
    description: str = ""
    does: str = "reply"
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFace:
    """What a rich message shows besides its words; `opener` is the label of the button that opens a list."""

    content_type: str
    choices: tuple[ShownChoice, ...] = ()
    opener: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubble:
    """A message on a contact's phone; `status` is Twilio's word, times are seconds since the epoch.

    `quotes` is the sid of the message that it answers.
    """

    seq: int
    sid: str
    account_sid: str
    number: str
    contact: str
    direction: str
    body: str
    media_urls: list[str]
    status: str
    error_code: int | None
    created_at: float
    sent_at: float | None
    delivered_at: float | None
    read_at: float | None
    webhook_statuses: list[int | None]
    acknowledged: bool
    kind: str = "text"
    files: tuple[ShownFile, ...] = ()
    face: ShownFace | None = None
    place: ShownPlace | None = None
    content_sid: str | None = None
    quotes: str | None = None
    forwarded: str | None = None
    headline: str | None = None

    @property
    def inbound(self) -> bool:
        return self.direction == "inbound"

    @property
    def choices(self) -> tuple[ShownChoice, ...]:
        """What can be tapped on it."""
        return self.face.choices if self.face is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAttempt:
    """One POST to a webhook; `error` is `ct` or `rt` when no answer came."""

    status: int | None
    error: str | None
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A contact's message and what its webhook answered; no attempts when the call did not wait."""

    sid: str
    attempts: tuple[WebhookAttempt, ...]
    sids: tuple[str, ...] = ()
    """All of them, where several were sent at once."""

    @property
    def statuses(self) -> list[int | None]:
        return [attempt.status for attempt in self.attempts]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestCall:
    """A call of Twilio's REST API; `status` 0 means that the connection was cut, `faulted` names the faults."""

    seq: int
    at: float
    method: str
    path: str
    form: dict[str, str]
    operation: str
    status: int
    sid: str | None
    faulted: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPost:
    """A webhook as it was posted; `kind` is `inbound` or `callback`; no attempts when a fault lost it."""

    at: float
    kind: str
    sid: str
    url: str
    params: dict[str, str]
    attempts: tuple[WebhookAttempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that must never come: credentials at the host that serves files."""

    at: float
    what: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A content of the Content API, and WhatsApp's word on it."""

    sid: str
    account_sid: str
    name: str
    language: str
    type: str
    status: str


def attempts_of(item: Mapping[str, Any]) -> tuple[WebhookAttempt, ...]:
    """The attempts in an answer of the control API."""
    return tuple(of(WebhookAttempt, attempt) for attempt in item["attempts"])


def sent_of(item: Mapping[str, Any]) -> Sent:
    """What an answer says of messages that were sent."""
    return Sent(sid=item["sid"], attempts=attempts_of(item), sids=tuple(item.get("sids") or (item["sid"],)))


def bubble_of(item: Mapping[str, Any]) -> Bubble:
    """A message of a thread."""
    face = item.get("face")
    shown = None
    if face:
        choices = tuple(of(ShownChoice, choice) for choice in face["choices"])
        shown = ShownFace(content_type=face["content_type"], choices=choices, opener=face["opener"])
    return of(
        Bubble,
        {
            **item,
            "files": tuple(of(ShownFile, file) for file in item["files"]),
            "face": shown,
            "place": of(ShownPlace, item["place"]) if item["place"] else None,
        },
    )


def of(kind: type[T], item: Mapping[str, Any]) -> T:
    """A dataclass from the fields of an answer that it knows."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in item.items() if name in known})
