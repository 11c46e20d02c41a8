"""What a contact can send, and the webhook parameters that Twilio makes of each kind.

Pure. Source: https://www.twilio.com/docs/messaging/guides/webhook-request and captured webhooks (`tests/data`). Where
a kind is not documented (stickers, unknown kinds) the parameters are what the documented ones suggest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from recado.simulator.state import Media

VCARD = "text/vcard"
DEFAULT_BODIES = frozenset({"location", "contacts", "audio", "sticker"})
"""Kinds whose Body is empty, whatever else they hold."""

LIMITS_BYTES = {"image": 5 * 1024 * 1024, "sticker": 500 * 1024}
MAX_BYTES = 16 * 1024 * 1024


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Frozen):
    """A pin on the map."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    address: str = ""
    label: str = ""


class Tap(_Frozen):
    """A button that was tapped; `payload` is the button's id, which a card does not tell."""

    title: str
    payload: str | None = None


class Pick(_Frozen):
    """An item of a list that was chosen."""

    id: str
    title: str
    description: str = ""


class Referral(_Frozen):
    """The advertisement or post that brought the contact here."""

    source_id: str = "120212345678901234"
    source_type: Literal["ad", "post"] = "ad"
    source_url: str = "https://fb.me/recado"
    headline: str = ""
    body: str = ""
    ctwa_clid: str = "ARAkLkA8rmlFeiCktEJQ"


class Writing(_Frozen):
    """One message of a contact, of any kind.

    `kind` is MessageType; without it the other fields tell, as far as they can. `quotes` is the sid of the
    message that this one answers. An unknown `kind` goes out with an empty Body, as Twilio tells what it can't carry.
    """

    kind: str | None = Field(default=None, pattern=r"^[a-z][a-z_]{0,31}$")
    body: str = ""
    place: Place | None = None
    tap: Tap | None = None
    pick: Pick | None = None
    referral: Referral | None = None
    call_permission: Literal["ACCEPTED", "REJECTED"] | None = None
    quotes: str | None = None
    forwarded: Literal["once", "often"] | None = None


def kind_of(writing: Writing, media: Media | None) -> str:
    """MessageType: what was asked for, or what the message holds."""
    if writing.kind:
        return writing.kind
    if media is not None:
        return kind_of_file(media.content_type)
    if writing.place is not None:
        return "location"
    if writing.tap is not None or writing.call_permission is not None:
        return "button"
    return "interactive" if writing.pick is not None else "text"


def kind_of_file(content_type: str) -> str:
    """The kind in which WhatsApp sends a file of this type."""
    plain = content_type.partition(";")[0].strip().lower()
    if plain == VCARD:
        return "contacts"
    if plain == "image/webp":
        return "sticker"
    major = plain.partition("/")[0]
    return major if major in ("image", "audio", "video") else "document"


def too_large(content_type: str, size_bytes: int) -> int | None:
    """The limit in bytes that a file of this type is over; None when it is not."""
    limit = LIMITS_BYTES.get(kind_of_file(content_type), MAX_BYTES)
    return limit if size_bytes > limit else None


def params_of(writing: Writing, media: Media | None, *, quoted_sender: str | None) -> dict[str, str | None]:
    """The parameters that this kind adds to those which every webhook has, or changes in them."""
    kind = kind_of(writing, media)
    params: dict[str, str | None] = {"MessageType": kind, "Body": _body(writing, kind, media)}
    if writing.place is not None:
        params |= {"Latitude": str(writing.place.latitude), "Longitude": str(writing.place.longitude)}
        params |= _given({"Address": writing.place.address, "Label": writing.place.label})
    if writing.call_permission is not None:
        params |= {"ButtonText": "VOICE_CALL_REQUEST", "ButtonPayload": writing.call_permission}
    if writing.tap is not None and writing.tap.payload is not None:
        params |= {"ButtonText": writing.tap.title, "ButtonPayload": writing.tap.payload}
    if writing.pick is not None:
        params |= {"ListId": writing.pick.id, "ListTitle": writing.pick.title}
        params |= _given({"ListDescription": writing.pick.description})
    if writing.quotes is not None:
        params |= {"OriginalRepliedMessageSid": writing.quotes, "OriginalRepliedMessageSender": quoted_sender}
    if writing.forwarded is not None:
        params |= {"Forwarded": "true"}
        params |= {"FrequentlyForwarded": "true"} if writing.forwarded == "often" else {}
    if writing.referral is not None:
        params |= _referral(writing.referral)
    return params


def _body(writing: Writing, kind: str, media: Media | None) -> str:
    if writing.call_permission is not None:
        return "VOICE_CALL_REQUEST"
    if writing.tap is not None:
        return writing.tap.title
    if writing.pick is not None:
        return writing.pick.title
    if kind == "document" and media is not None:
        return media.file_name
    return "" if kind in DEFAULT_BODIES else writing.body


def _referral(referral: Referral) -> dict[str, str]:
    return _given(
        {
            "ReferralSourceId": referral.source_id,
            "ReferralSourceType": referral.source_type,
            "ReferralSourceUrl": referral.source_url,
            "ReferralHeadline": referral.headline,
            "ReferralBody": referral.body,
            "ReferralCtwaClid": referral.ctwa_clid,
        }
    )


def _given(params: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}


def one_each(writing: Writing, media: Sequence[Media]) -> list[tuple[Writing, Media | None]]:
    """The messages of an album: one for each file, as Twilio tells them; the caption goes with the first."""
    if not media:
        return [(writing, None)]
    silent = writing.model_copy(update={"body": ""})
    return [(writing if index == 0 else silent, file) for index, file in enumerate(media)]
