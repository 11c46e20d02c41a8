"""What a message holds beyond its text, as the API shows it."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field


class MediaView(BaseModel):
    """An attachment. Its content is what `GET /v1/media/{media_id}/link` leads to, once it is `stored`."""

    id: UUID
    message_id: UUID | None
    status: Annotated[
        Literal["waiting", "stored", "refused", "failed"],
        Field(description="`refused`: it may not be kept, and is not asked for again. `failed`: it could not be had."),
    ]
    reason: Annotated[
        str | None, Field(description="Why it was refused, could not be had, or could not be made text, in a word.")
    ]
    content_type: Annotated[str | None, Field(description="What it is, by its content.", examples=["image/jpeg"])]
    announced_type: Annotated[str, Field(description="What its sender says it is.")]
    file_name: Annotated[
        str | None, Field(description="As its sender named it, with an ending of its type and nothing invisible.")
    ]
    size_bytes: int | None
    duration_s: float | None
    width: int | None
    height: int | None
    pages: int | None
    text: Annotated[str | None, Field(description="What a document says, as far as it was read.")]


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
