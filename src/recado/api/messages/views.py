"""Messages as the API shows them: their rows with all that is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from recado.api.media import MediaView
from recado.conversations import reading
from recado.conversations.holding import HeldFor
from recado.conversations.messages import Listed
from recado.conversations.reading import Reading
from recado.conversations.saying import says
from recado.db.scope import Scope


class PlaceView(BaseModel):
    """A place that was sent."""

    latitude: float | None
    longitude: float | None
    name: str | None
    address: str | None


class CardView(BaseModel):
    """One entry of a contact card."""

    name: str | None
    organization: str | None
    phones: list[str]
    emails: list[str]


class ButtonView(BaseModel):
    """A button that was tapped; `payload` is what it was given when it was sent: route on that."""

    text: str | None
    payload: str | None


class ChoiceView(BaseModel):
    """What was chosen from a list; `id` is what the item was given when it was sent."""

    id: str | None
    title: str | None
    description: str | None


class QuoteView(BaseModel):
    """The message that this one replies to; all null where it is not known here."""

    message_id: UUID | None
    author: Literal["contact", "assistant", "operator", "system", "api"] | None
    kind: str | None
    text: str | None


class ReferralView(BaseModel):
    """The advertisement or post that brought the contact here."""

    headline: str | None
    body: str | None
    source_type: str | None
    source_id: str | None
    source_url: str | None
    media_url: str | None
    media_content_type: str | None
    click_id: Annotated[str | None, Field(description="Meta's id of the click (ctwa_clid).")]


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


async def shown(scope: Scope, found: Sequence[Listed]) -> list[MessageView]:
    """The messages in the order in which they were given."""
    readings = await reading.of(scope, [message.id for message in found])
    return [_view(message, readings[message.id]) for message in found]


def _view(message: Listed, read: Reading) -> MessageView:
    return MessageView.model_validate(
        {
            **{name: getattr(message, name) for name in MessageView.model_fields if hasattr(message, name)},
            **{name: getattr(read, name) for name in MessageView.model_fields if hasattr(read, name)},
            "says": says(read),
            "contacts": read.cards,
        },
        from_attributes=True,
    )
