"""The port: what a messaging channel gives recado, and what recado asks of it.

Fields that hold what a person wrote, or who they are, stay out of `repr`, so that no log line carries them by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from recado.errors import RecadoError


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One attachment as the channel announced it; nothing of it was fetched or checked yet."""

    url: str = field(repr=False)
    content_type: str
    file_name: str | None = field(default=None, repr=False)


Forwarded = Literal["once", "often"]
OptOut = Literal["stop", "start", "help"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Referral:
    """The advertisement or post that brought the contact here, as the channel tells it: other people's words.

    `click_id` is Meta's id of the click. The media are told, never fetched.
    """

    headline: str | None = field(default=None, repr=False)
    body: str | None = field(default=None, repr=False)
    source_type: str | None = None
    source_id: str | None = field(default=None, repr=False)
    source_url: str | None = field(default=None, repr=False)
    media_url: str | None = field(default=None, repr=False)
    media_content_type: str | None = None
    click_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One message from a contact.

    `from_address` and `to_address` are in canonical form: replies go to exactly that. `identity_key` tells people apart
    and is the same for every form of one person's address; `external_id` is the person's business-scoped id. `channel`
    is `whatsapp`, or the word of another channel, whose addresses begin with it and are never WhatsApp's. `kind` is
    one of `docs/reference/messages.md`, or a word that the channel has added since. `opt_out` is what the channel has
    heeded already, and answered. `parameters` holds everything that came, lists kept, with only what no database can
    store taken out.
    """

    account_sid: str
    message_sid: str
    from_address: str = field(repr=False)
    to_address: str = field(repr=False)
    identity_key: str = field(repr=False)
    kind: str
    body: str = field(repr=False)
    channel: str = "whatsapp"
    opt_out: OptOut | None = None
    profile_name: str | None = field(default=None, repr=False)
    wa_id: str | None = field(default=None, repr=False)
    media: tuple[Media, ...] = ()
    button_payload: str | None = field(default=None, repr=False)
    button_text: str | None = field(default=None, repr=False)
    list_id: str | None = field(default=None, repr=False)
    list_title: str | None = field(default=None, repr=False)
    list_description: str | None = field(default=None, repr=False)
    latitude: float | None = field(default=None, repr=False)
    longitude: float | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)
    label: str | None = field(default=None, repr=False)
    replied_to_sid: str | None = None
    replied_to_sender: str | None = field(default=None, repr=False)
    forwarded: Forwarded | None = None
    referral: Referral | None = field(default=None, repr=False)
    external_id: str | None = field(default=None, repr=False)
    parent_external_id: str | None = field(default=None, repr=False)
    messaging_service_sid: str | None = None
    idempotency_token: str | None = None
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the channel says has become of a message that we sent; `event_type` is its own raw word, if it gave one."""

    account_sid: str
    message_sid: str
    status: str
    error_code: int | None = None
    error_text: str | None = field(default=None, repr=False)
    event_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An outbound message as the channel holds it; `date_created` is UTC and has a resolution of one second."""

    sid: str
    status: str
    date_created: datetime | None
    body: str = field(repr=False)
    to: str = field(repr=False)
    from_: str | None = field(repr=False)
    num_media: int = 0
    error_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A message in the channel's own list of an account, sent or received; `created_at` is UTC, to the second."""

    sid: str
    inbound: bool
    status: str
    created_at: datetime
    body: str = field(repr=False)
    to: str = field(repr=False)
    from_: str | None = field(repr=False)
    num_media: int = 0
    error_code: int | None = None
    messaging_service_sid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template as the channel holds it; `body` has its variables in braces, `types` is everything it says.

    `status` is the channel's word: only `approved` ones may be sent outside the window. `mended` names the fields that
    held characters which are no text.
    """

    content_sid: str
    name: str
    language: str
    category: str | None
    status: str
    rejection_reason: str | None
    content_type: str
    body: str = field(repr=False)
    types: Mapping[str, Any] = field(repr=False)
    mended: tuple[str, ...] = ()


class ErrorClass(StrEnum):
    """Why a message could not be sent, as far as it decides what happens next."""

    RETRY = "retry"
    """Certainly not taken, and may be in a moment."""
    WINDOW = "window"
    """Outside the 24 h window: only a template, or a new inbound message, opens it."""
    CONFIGURATION = "configuration"
    """The owner's account or number is not set up for this: keep the message, tell the owner."""
    RECIPIENT = "recipient"
    """This contact can't be reached, or does not want to be: final."""
    CONTENT = "content"
    """What was sent is not acceptable: final."""
    TEMPLATE = "template"
    """The template is missing, wrong, rejected or paused: final."""
    QUOTA = "quota"
    """A limit of the number or account is used up: hold, tell the owner."""
    LOOK = "look"
    """Refused for a reason that nobody here knows: keep the message, have somebody look."""
    UNKNOWN = "unknown"
    """It may have been taken or not: reconcile before any other attempt."""


class SendError(RecadoError):
    """A message could not be sent; `error_class` says what happens next, `owner_text` is for the owner to read.

    `code` is Twilio's error code. `retry_after_s` is what the channel asked for, not yet bounded. All are kept in
    `args`, so that the error survives pickling (durable workflows store what a step raised).
    """

    def __init__(
        self,
        error_class: ErrorClass,
        owner_text: str,
        code: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(error_class, owner_text, code, retry_after_s)
        self.error_class = error_class
        self.owner_text = owner_text
        self.code = code
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.owner_text if self.code is None else f"{self.owner_text} (Twilio {self.code})"


class Sender(Protocol):
    """Sends for one Twilio account. Every method raises `SendError` and nothing else of its own.

    A cancelled `send` has an unknown outcome, like a time-out.
    """

    async def send(
        self,
        *,
        to: str,
        from_: str | None = None,
        messaging_service_sid: str | None = None,
        body: str,
        media_url: str | None = None,
        content_sid: str | None = None,
        content_variables: Mapping[str, str] | None = None,
        status_callback: str | None,
        not_after: float | None = None,
    ) -> Sent:
        """Hand one message over, once: there is no repetition below this call.

        Nothing leaves after `not_after`, a moment of `recado.clock.uptime`: somebody else may be sending it by then.
        `body` is the caption of `media_url`, and is not sent with `content_sid`, which says it itself.
        """
        ...

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        """The outbound messages to that address created at or after `since` (to the second), newest first.

        `since`, and when they were created, are by this machine's clock.

        For reconciling an unknown outcome: an incomplete answer is never given, it raises `SendError` instead.
        """
        ...

    async def fetch(self, sid: str) -> Receipt:
        """The present status of one message; raises `NotFound` when the channel does not know it."""
        ...

    async def typing(self, message_sid: str) -> None:
        """Show the contact that an answer is being written, and mark their message as read."""
        ...

    async def aclose(self) -> None:
        """Let go of connections; twice does no harm."""
        ...


class Eraser(Protocol):
    """Deletes what the channel keeps, for one Twilio account. Every method raises `SendError` alone."""

    async def erase(self, message_sid: str, *, with_media: bool) -> int | None:
        """Delete the record of a message, and its files before it; answers how many files, None for no such message.

        Raises `SendError` with `NOT_FINAL` while its delivery has not ended.
        """
        ...

    async def find(self, *, to: str, from_: str | None, since: datetime) -> list[Sent]:
        """As `Sender.find`."""
        ...

    async def erase_content(self, content_sid: str) -> bool:
        """Delete buttons or a list that were made; whether they were there."""
        ...


class Contents(Protocol):
    """What is made before it is sent, for one Twilio account. Every method raises `SendError` alone."""

    async def create(self, definition: Mapping[str, Any]) -> str:
        """Have buttons or a list made; answers the ContentSid. Made twice it is there twice, which harms nothing."""
        ...

    async def templates(self) -> list[Template]:
        """Everything that could be sent as a template, whatever became of its approval."""
        ...


class Archive(Protocol):
    """What the channel still knows of one Twilio account. Every method raises `SendError` alone."""

    async def since(self, moment: datetime) -> list[Listed]:
        """Every message of the account created at or after that moment, in its order; complete, or an error."""
        ...

    async def media(self, sid: str) -> list[Media]:
        """The attachments of a message that it lists."""
        ...
