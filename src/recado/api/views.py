"""What the API shows of each thing, by the glossary's words. Ids are strings, times RFC 3339 in UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from recado.identity.callers import KeyScope, Role

_CONVERSATION = "01980c5e-6f3a-7c11-9f0b-2f4a8d1e5b77"
_NUMBER = "01980c5e-5a10-7d42-8c33-91d2f0a4c6e8"

#: A text that PostgreSQL can store.
NO_NUL = r"^[^\x00]*$"
NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"


class OwnerView(BaseModel):
    """The tenant whose key this is."""

    id: UUID
    name: str
    status: Literal["active", "suspended"]
    created_at: datetime


class TwilioAccountView(BaseModel):
    """A Twilio account; its tokens are never shown."""

    id: UUID
    account_sid: Annotated[str, Field(examples=["AC" + "0" * 32])]
    created_at: datetime
    updated_at: datetime


class NumberView(BaseModel):
    """A WhatsApp sender; without `assistant_id` the default assistant answers."""

    id: UUID
    account_id: UUID
    address: Annotated[str, Field(examples=["whatsapp:+14155238886"])]
    status: Literal["active", "unrouted"]
    assistant_id: UUID | None
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
    version: int
    created_at: datetime
    updated_at: datetime


class KnowledgeView(BaseModel):
    """One thing the company knows."""

    id: UUID
    source: str
    title: str
    content: str
    language: str
    created_at: datetime


class ContactView(BaseModel):
    """A person on WhatsApp. `suppressed`: nothing is sent to them, by whomever, until they opt in again."""

    id: UUID
    address: Annotated[str, Field(examples=["whatsapp:+5511999990000"])]
    profile_name: str | None
    language: str | None
    suppressed: bool
    suppressed_since: datetime | None
    suppressed_why: Annotated[
        str | None,
        Field(description="`word`: they wrote so; `twilio` and its code; `people`: the owner's.", examples=["word"]),
    ]
    created_at: datetime


class ConsentWordView(BaseModel):
    """A word of the owner's own by which contacts opt out or in, as it is compared."""

    id: UUID
    word: Annotated[str, Field(examples=["chega de mensagens"])]
    action: Literal["stop", "start"]
    language: Literal["pt", "es", "en"] | None
    created_at: datetime


class ConversationView(BaseModel):
    """A thread between a contact and a number. `version` is its ETag."""

    id: Annotated[UUID, Field(examples=[_CONVERSATION])]
    number_id: Annotated[UUID, Field(examples=[_NUMBER])]
    contact_id: UUID
    status: Annotated[
        Literal["open", "handoff", "closed"], Field(description="In `handoff` people answer, the assistant is silent.")
    ]
    attention: Annotated[str | None, Field(description="Why people should look at it.")]
    close_reason: str | None
    last_inbound_at: datetime
    opened_at: datetime
    closed_at: datetime | None
    version: int


class MessageView(BaseModel):
    """A message and what came of it."""

    id: UUID
    conversation_id: UUID
    direction: Literal["inbound", "outbound"]
    author: Literal["contact", "assistant", "operator", "system", "api"]
    kind: str
    body: str
    status: Annotated[str, Field(examples=["queued", "delivered"])]
    error_code: Annotated[int | None, Field(description="Twilio's code: docs/reference/errors.md.")]
    provider_sid: Annotated[str | None, Field(description="Twilio's MessageSid, for what it had in one part.")]
    correlation_id: UUID
    reply_to: UUID | None
    received_at: datetime


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


class UserView(BaseModel):
    """A person who signs in."""

    id: UUID
    email: str
    role: Role
    status: Literal["active", "disabled"]
    last_sign_in_at: datetime | None
    created_at: datetime


class InvitationView(BaseModel):
    """An invitation without its token."""

    id: UUID
    email: str
    role: Role
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


class AssistantChange(Given):
    """What of an assistant changes; fields that are not given stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"instructions": "Answer briefly.", "language": "pt"}]}
    )

    instructions: Annotated[str, Field(max_length=20_000, pattern=NO_NUL)] | None = None
    model: (
        Annotated[str, Field(max_length=200, pattern=NO_NUL, description="Empty: the installation's model.")] | None
    ) = None
    language: Literal["pt", "es", "en"] | None = None
    apology: Annotated[str, Field(max_length=1_000, pattern=NO_NUL, description="Empty: recado's own.")] | None = None


class NewMessage(Given):
    """A text to send."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"body": "Seu pedido está pronto."}]})

    body: Annotated[str, Field(min_length=1, max_length=16_000, pattern=NOT_BLANK)]


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
    expires_at: datetime | None = None
