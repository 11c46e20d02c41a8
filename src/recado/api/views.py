"""What the API shows of each thing, by the glossary's words. Ids are strings, times RFC 3339 in UTC."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from recado.api.contents import (
    ButtonView,
    CardView,
    ChoiceView,
    MediaView,
    PlaceView,
    QuoteView,
    ReferralView,
)
from recado.conversations import conversations
from recado.conversations.holding import HeldFor
from recado.delivery.window import window
from recado.identity.callers import KeyScope, Role
from recado.text import INVISIBLE_CLASS, all_storable

_CONVERSATION = "01980c5e-6f3a-7c11-9f0b-2f4a8d1e5b77"
_NUMBER = "01980c5e-5a10-7d42-8c33-91d2f0a4c6e8"

#: A text that PostgreSQL can store, and one of which something is seen.
NO_NUL = r"^[^\x00]*$"
NOT_BLANK = rf"^[^\x00]*[^\s\x00-\x1f\x7f-\x9f{INVISIBLE_CLASS}][^\x00]*$"


class OwnerView(BaseModel):
    """A tenant; a suspended one's messages are accepted and held. `version` is its ETag."""

    id: UUID
    name: str
    status: Literal["active", "suspended"]
    plan: Annotated[str | None, Field(description="The name of its plan; null: no limits.")]
    version: int
    created_at: datetime


class TwilioAccountView(BaseModel):
    """A Twilio account; what opens it is never shown. `version` is its ETag."""

    id: UUID
    account_sid: Annotated[str, Field(examples=["AC" + "0" * 32])]
    api_key_sid: Annotated[
        str | None, Field(examples=["SK" + "0" * 32], description="Null: messages are sent with the account's token.")
    ]
    public_url: Annotated[
        str | None,
        Field(examples=["https://hooks.example.com"], description="Null: Twilio calls the installation's address."),
    ]
    rotating: Annotated[bool, Field(description="Whether a second auth token counts beside the first.")]
    proven: Annotated[
        bool,
        Field(
            description="Whether Twilio has confirmed AccountSid and token. Until then whoever proves that the account "
            "is theirs gets it."
        ),
    ]
    removed_at: datetime | None
    removed_why: Annotated[
        Literal["removed", "lost"] | None,
        Field(
            description="`removed` by its owner, or `lost` to another who proved it. Adding it again brings it back."
        ),
    ]
    version: int
    created_at: datetime
    updated_at: datetime


class NumberView(BaseModel):
    """A WhatsApp sender; without `assistant_id` the default assistant answers. `version` is its ETag."""

    id: Annotated[UUID, Field(examples=[_NUMBER])]
    account_id: UUID
    address: Annotated[str, Field(examples=["whatsapp:+14155238886"])]
    status: Annotated[Literal["active", "unrouted"], Field(description="`unrouted`: messages are kept, not answered.")]
    assistant_id: UUID | None
    messaging_service_sid: Annotated[
        str | None, Field(examples=["MG" + "0" * 32], description="The Messaging Service that sends for the number.")
    ]
    proven: Annotated[bool, Field(description="Twilio has said that the account has this number.")]
    version: int
    created_at: datetime


class AssistantView(BaseModel):
    """What an assistant was told. `version` is its ETag."""

    id: UUID
    name: str
    is_default: bool
    instructions: str
    model: Annotated[str | None, Field(description="Null: the installation's model.")]
    language: str
    apology: Annotated[str | None, Field(description="Null: recado's own words.")]
    sees: Annotated[
        bool | None, Field(description="Whether the model is given pictures. Null: by what is known of the model.")
    ]
    templates: Annotated[bool, Field(description="Whether it may send the owner's approved templates by itself.")]
    version: int
    created_at: datetime
    updated_at: datetime


class KnowledgeView(BaseModel):
    """One thing the company knows."""

    id: UUID
    source: Annotated[str, Field(examples=["faq.md"])]
    title: Annotated[str, Field(examples=["Qual o horário?"])]
    content: Annotated[str, Field(examples=["Abrimos das 7h às 20h."])]
    language: Annotated[str, Field(examples=["pt"])]
    created_at: datetime


class SourceView(BaseModel):
    """What is known from one source."""

    source: Annotated[str, Field(examples=["faq.md"])]
    entries: Annotated[int, Field(description="How many; of a source that was deleted, how many there were.")]
    language: Annotated[str | None, Field(examples=["pt"])]


class ContactView(BaseModel):
    """A person on WhatsApp. `suppressed`: nothing is sent to them, by whomever, until they opt in again.

    `version` is its ETag, and grows with what people change.
    """

    id: UUID
    address: Annotated[str, Field(examples=["whatsapp:+5511999990000"])]
    profile_name: str | None
    language: Annotated[
        str | None,
        Field(description="What their voice notes are listened for in; null: the assistant's.", examples=["pt"]),
    ]
    language_why: Annotated[
        Literal["people", "written"] | None,
        Field(description="`people` said so; `written`: told by what the contact writes."),
    ]
    suppressed: bool
    suppressed_since: datetime | None
    suppressed_why: Annotated[
        str | None,
        Field(description="`word`: they wrote so; `twilio` and its code; `people`: the owner's.", examples=["word"]),
    ]
    version: int
    created_at: datetime


class ConsentWordView(BaseModel):
    """A word of the owner's own by which contacts opt out or in, as it is compared."""

    id: UUID
    word: Annotated[str, Field(examples=["chega de mensagens"])]
    action: Literal["stop", "start"]
    language: Literal["pt", "es", "en"] | None
    created_at: datetime


class WindowView(BaseModel):
    """While it is open anything may be sent, then only templates."""

    open: bool
    closes_at: Annotated[datetime | None, Field(description="Null while the contact has not written to this number.")]
    seconds_left: Annotated[int, Field(ge=0, le=86_400)]


class ConversationView(BaseModel):
    """A thread between a contact and a number. `version` is its ETag."""

    id: Annotated[UUID, Field(examples=[_CONVERSATION])]
    number_id: Annotated[UUID, Field(examples=[_NUMBER])]
    contact_id: UUID
    status: Annotated[
        Literal["open", "handoff", "closed"], Field(description="In `handoff` people answer, the assistant is silent.")
    ]
    assignee_id: Annotated[UUID | None, Field(description="The user who sees to it.")]
    attention: Annotated[str | None, Field(description="Why people should look at it.")]
    close_reason: Annotated[str | None, Field(examples=["resolved"])]
    last_inbound_at: Annotated[
        datetime | None, Field(description="When the contact last wrote to this number; null if they never did.")
    ]
    opened_at: datetime
    closed_at: datetime | None
    version: int
    window: Annotated[WindowView, Field(description="WhatsApp's 24 hours, as they stand now.")]

    @classmethod
    def of(cls, found: conversations.Listed, now: datetime) -> ConversationView:
        """What is shown of a conversation at this moment."""
        as_it_stands = window(found.last_inbound_at, now)
        shown = WindowView(
            open=as_it_stands.open,
            closes_at=as_it_stands.closes_at,
            seconds_left=int(as_it_stands.left.total_seconds()),
        )
        return cls(**asdict(found), window=shown)


class MessageView(BaseModel):
    """A message, what it holds, and what came of it: docs/reference/messages.md."""

    id: UUID
    conversation_id: UUID
    direction: Literal["inbound", "outbound"]
    author: Literal["contact", "assistant", "operator", "system", "api"]
    kind: Annotated[
        str, Field(description="One of docs/reference/messages.md, or a word that WhatsApp has added since.")
    ]
    body: Annotated[str, Field(description="The words that were written; empty where there are none.")]
    says: Annotated[str, Field(description="All that it holds, in one text, as the assistant reads it.")]
    transcript: Annotated[str | None, Field(description="What a voice note says, by machine.")]
    transcript_language: str | None
    media: list[MediaView]
    place: PlaceView | None
    contacts: Annotated[list[CardView], Field(description="What a contact card holds.")]
    button: ButtonView | None
    choice: ChoiceView | None
    quote: QuoteView | None
    forwarded: Annotated[Literal["once", "often"] | None, Field(description="`often`: many times.")]
    referral: ReferralView | None
    status: Annotated[str, Field(examples=["queued", "delivered"])]
    error_code: Annotated[int | None, Field(description="Twilio's code: docs/reference/errors.md.")]
    provider_sid: Annotated[str | None, Field(description="Twilio's MessageSid, for what it had in one part.")]
    correlation_id: UUID
    reply_to: UUID | None
    received_at: datetime
    content: Annotated[
        dict[str, Any] | None,
        Field(description="What an outbound message is beyond its text: `kind` and what belongs to it."),
    ]
    held_for: Annotated[HeldFor | None, Field(description="What it is held for; null unless it is held.")]
    reason: Annotated[str | None, Field(description="A word that says more closely why it is held or failed.")]


class WholeMessageView(MessageView):
    """A message with everything that came with it."""

    parameters: Annotated[
        dict[str, list[str]] | None,
        Field(
            description="All that Twilio posted, by name, also what recado does not read yet; null for what was sent.",
            examples=[{"MessageType": ["order"], "Body": [""], "OrderText": ["2 bolos"]}],
        ),
    ]


class MediaLinkView(BaseModel):
    """A link to an attachment's content; whoever has it needs no key."""

    url: str
    expires_at: datetime


class EventView(BaseModel):
    """One thing that happened, for whoever follows along."""

    id: Annotated[str, Field(description="Give it as `after`.", examples=["4711"])]
    at: datetime
    step: str
    what: str
    conversation_id: UUID | None
    message_id: UUID | None
    correlation_id: UUID | None
    data: dict[str, Any] | None


class PlanView(BaseModel):
    """What a plan allows in a month; null is no limit. Money is in millionths of a US dollar."""

    name: Annotated[str, Field(examples=["small"])]
    messages: Annotated[int | None, Field(examples=[1000])]
    model_tokens: Annotated[int | None, Field(examples=[None])]
    transcription_seconds: Annotated[int | None, Field(examples=[3600])]
    money: Annotated[int | None, Field(examples=[12_500_000])]
    stored_bytes: Annotated[
        int | None, Field(examples=[5_000_000_000], description="Of attachments kept at a time, not in a month.")
    ]
    soft_share: Annotated[float, Field(examples=[0.8], description="The share of a limit at which an event warns.")]
    hard_action: Annotated[Literal["keyless", "people"], Field(description="Who answers once a limit is reached.")]


class UsedView(BaseModel):
    """What was used of one metric; `limit` is the plan's, null without one."""

    metric: Literal["messages", "model_tokens", "transcription_seconds", "money", "unpriced_tokens", "stored_bytes"]
    amount: Annotated[int, Field(examples=[42])]
    limit: Annotated[int | None, Field(examples=[1000])]


class UsageView(BaseModel):
    """What an owner used in a month, in UTC, and what that is to its plan: at `hard` a limit is reached."""

    period: Annotated[str, Field(examples=["2026-11"])]
    state: Literal["ok", "soft", "hard"]
    plan: PlanView | None
    metrics: list[UsedView]


class AuditView(BaseModel):
    """One thing that somebody did. Those who run the installation (`platform`, `cli`) have no name here."""

    id: Annotated[str, Field(examples=["4711"])]
    at: datetime
    caller_kind: Literal["key", "user", "platform", "cli"]
    caller_id: UUID | None
    caller_name: Annotated[str | None, Field(examples=["CRM"])]
    action: Annotated[str, Field(examples=["close"])]
    thing: Annotated[str, Field(examples=["conversation"])]
    thing_id: Annotated[str | None, Field(examples=[_CONVERSATION])]
    data: Annotated[dict[str, Any] | None, Field(examples=[{"reason": "resolved"}])]


class PlatformAuditView(AuditView):
    """One thing that somebody did, with the names of those who run the installation; without an owner, to that."""

    owner_id: UUID | None


class UserView(BaseModel):
    """A person who signs in. `version` is their ETag."""

    id: UUID
    email: str
    name: str
    role: Role
    status: Literal["active", "disabled"]
    version: int
    last_sign_in_at: datetime | None
    created_at: datetime


class InvitationView(BaseModel):
    """An invitation without its token."""

    id: UUID
    email: str
    role: Role
    resets_password: Annotated[
        bool, Field(description="Whether it is for a user who existed: accepted, it gives them another password.")
    ]
    invited_by_kind: Annotated[
        Literal["key", "user", "platform", "cli"] | None, Field(description="Who made it, as in the audit.")
    ]
    invited_by_id: UUID | None
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


class KeyView(BaseModel):
    """An API key without its text; `hint` is how that begins."""

    id: UUID
    name: str
    hint: str
    scopes: list[KeyScope]
    made_by_kind: Annotated[
        Literal["key", "user", "platform", "cli"] | None, Field(description="Who made it, as in the audit.")
    ]
    made_by_id: UUID | None
    made_by_name: Annotated[str | None, Field(description="The user's e-mail address, or the key's name.")]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKeyView(KeyView):
    """A new API key, shown this once."""

    key: Annotated[str, Field(description="The key's text, which can't be had again.")]


class Given(BaseModel):
    """What a caller gives; a field that there is not is refused."""

    model_config = ConfigDict(extra="forbid", strict=False)

    @model_validator(mode="wrap")
    @classmethod
    def _can_be_stored(cls, given: Any, validated: ModelWrapValidatorHandler[Self]) -> Self:
        """Refuse what no database takes in whichever field, so that none has to say so of itself.

        What a field says of itself is said first: it names the field.
        """
        made = validated(given)
        try:
            refused = all_storable(given) != given
        except RecursionError:
            refused = True
        if refused:
            raise ValueError("holds NUL or half of a surrogate pair, or is nested too deep")
        return made


class NewConsentWord(Given):
    """A word or short phrase that opts out (`stop`) or in (`start`) when it is the whole message."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"word": "Chega de mensagens", "action": "stop"}]}
    )

    word: Annotated[
        str,
        Field(min_length=1, max_length=64, pattern=NO_NUL, description="Case, accents and punctuation are nothing."),
    ]
    action: Literal["stop", "start"]
    language: Annotated[
        Literal["pt", "es", "en"] | None, Field(description="Of the word, which the confirmation is then in.")
    ] = None


class Reason(Given):
    """Why; for the timeline and the reports."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "resolved"}]})

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=NOT_BLANK)] | None = None


class NewKey(Given):
    """An API key to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "CRM", "scopes": ["read"]}]})

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=NOT_BLANK)]
    scopes: Annotated[list[KeyScope], Field(min_length=1, max_length=4)]
    expires_at: Annotated[
        datetime | None, Field(description="In the future, ten years ahead at most. Null: it does not end.")
    ] = None
