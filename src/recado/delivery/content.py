"""What an outbound message can be beyond its text, with the limits of WhatsApp, and how it reads as plain text.

The text that goes with it is the message's body: caption of an attachment, question above buttons or a list, and
for a template what it says with its variables filled in.

Limits: https://www.twilio.com/docs/content/twilio-quick-reply and https://www.twilio.com/docs/content/twilio-list-picker.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from recado.delivery.split import split, units
from recado.errors import UsageError
from recado.text import is_blank

BUTTONS: Final = 3
ITEMS: Final = 10
BUTTON_CHARS: Final = 20
TITLE_CHARS: Final = 24
DESCRIPTION_CHARS: Final = 72
ID_CHARS: Final = 200
#: The longest text that goes with an attachment, buttons, a list, or in a template.
TEXT_CHARS: Final = 1024
#: Files: https://www.twilio.com/docs/whatsapp/guidance-whatsapp-media-messages.
IMAGE_BYTES: Final = 5_000_000
STICKER_BYTES: Final = 500_000
FILE_BYTES: Final = 16_000_000
NOT_CARRIED: Final = frozenset({"text/csv"})
#: What ends a line, and what nobody sees; no emoji is among them, as those may hold joiners.
CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

#: How the names of the contents begin that we have made at Twilio.
OUR_NAME: Final = "recado:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A stored attachment of the owner's."""

    media_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button to tap; `id` comes back as ButtonPayload."""

    id: str
    title: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickReplies:
    """Up to three buttons under the text."""

    buttons: tuple[Button, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A choice of a list; `id` comes back as ListId."""

    id: str
    title: str = field(repr=False)
    description: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPicker:
    """Up to ten choices behind a button under the text."""

    button: str = field(repr=False)
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUse:
    """An approved template of the Twilio account with its variables."""

    content_sid: str
    variables: Mapping[str, str] = field(repr=False)


Choices = QuickReplies | ListPicker
Content = Attachment | QuickReplies | ListPicker | TemplateUse


def to_json(content: Content) -> dict[str, Any]:
    """The content as `messages.content` holds it."""
    match content:
        case Attachment():
            return {"kind": "media", "media_id": str(content.media_id)}
        case QuickReplies():
            buttons = [{"id": button.id, "title": button.title} for button in content.buttons]
            return {"kind": "quick_replies", "buttons": buttons}
        case ListPicker():
            items = [
                {"id": item.id, "title": item.title} | ({"description": item.description} if item.description else {})
                for item in content.items
            ]
            return {"kind": "list", "button": content.button, "items": items}
        case TemplateUse():
            return {"kind": "template", "content_sid": content.content_sid, "variables": dict(content.variables)}


def from_json(stored: Mapping[str, Any]) -> Content:
    """The content that `to_json` made. Raises ValueError for anything else."""
    match stored:
        case {"kind": "media", "media_id": media_id}:
            return Attachment(media_id=UUID(media_id))
        case {"kind": "quick_replies", "buttons": buttons}:
            return QuickReplies(buttons=tuple(Button(**button) for button in buttons))
        case {"kind": "list", "button": button, "items": items}:
            return ListPicker(button=button, items=tuple(Item(**item) for item in items))
        case {"kind": "template", "content_sid": content_sid, "variables": variables}:
            return TemplateUse(content_sid=content_sid, variables=variables)
        case _:
            raise ValueError("not a stored content")


def check(content: Choices, body: str) -> None:
    """Raise UsageError that says what is allowed where buttons or a list can't be sent like this."""
    if isinstance(content, QuickReplies):
        choices: Sequence[Button | Item] = content.buttons
        most, chars = BUTTONS, BUTTON_CHARS
    else:
        choices = content.items
        most, chars = ITEMS, TITLE_CHARS
        if not _fits(content.button, BUTTON_CHARS):
            raise UsageError(f"the list's button needs 1 to {BUTTON_CHARS} characters")
        if not all(item.description is None or _fits(item.description, DESCRIPTION_CHARS) for item in content.items):
            raise UsageError(f"a description has 1 to {DESCRIPTION_CHARS} characters, or is left out")
    if not 1 <= len(choices) <= most:
        raise UsageError(f"there can be 1 to {most} of them")
    if not all(_fits(choice.title, chars) for choice in choices):
        raise UsageError(f"a title needs 1 to {chars} characters, in one line")
    if not all(_fits(choice.id, ID_CHARS) for choice in choices):
        raise UsageError(f"an id needs 1 to {ID_CHARS} characters, in one line")
    if len({choice.id for choice in choices}) < len(choices) or len({c.title for c in choices}) < len(choices):
        raise UsageError("no two of them may have the same id or the same title")
    if is_blank(body):
        raise UsageError("buttons and lists need a text above them")
    if "{{" in json.dumps(_types(content, body), ensure_ascii=False):
        raise UsageError("{{ is the mark of a template's variable: it can't stand in a text with buttons or a list")


def _fits(text: str, most: int) -> bool:
    return text == text.strip() and not CONTROLS.search(text) and not is_blank(text) and len(text) <= most


def pieces(body: str, split_chars: int, *, with_text: bool) -> tuple[tuple[str, ...], str]:
    """The texts that go before the content by themselves, and the one that goes with it.

    The end of a long text goes with the content, so that buttons stand under what they answer. `with_text` False: the
    content takes no text, for instance a voice note.
    """
    texts = split(body, split_chars)
    if not with_text or not texts:
        return texts, ""
    *before, last = texts
    if units(last) > TEXT_CHARS:
        *more, last = split(last, TEXT_CHARS)
        before += more
    return tuple(before), last


def as_text(content: Choices, body: str) -> str:
    """Buttons or a list as a text that asks for a number or the words."""
    if isinstance(content, QuickReplies):
        choices = [button.title for button in content.buttons]
    else:
        choices = [f"{item.title}: {item.description}" if item.description else item.title for item in content.items]
    return "\n".join([body.rstrip(), "", *(f"{number}. {choice}" for number, choice in enumerate(choices, 1))])


def definition(content: Choices, body: str) -> dict[str, Any]:
    """What Twilio's Content API is asked to make of it; `language` counts for approvals only, which it never gets."""
    name = OUR_NAME + digest(content, body).hex()[:16]
    return {"friendly_name": name, "language": "en", "types": _types(content, body)}


def digest(content: Choices, body: str) -> bytes:
    """What tells contents apart: SHA-256 of all that is said."""
    return hashlib.sha256(json.dumps(_types(content, body), sort_keys=True).encode()).digest()


def _types(content: Choices, body: str) -> dict[str, Any]:
    if isinstance(content, QuickReplies):
        actions = [{"type": "QUICK_REPLY", "title": button.title, "id": button.id} for button in content.buttons]
        return {"twilio/quick-reply": {"body": body.strip(), "actions": actions}}
    items = [
        {"id": item.id, "item": item.title} | ({"description": item.description} if item.description else {})
        for item in content.items
    ]
    return {"twilio/list-picker": {"body": body.strip(), "button": content.button, "items": items}}


def takes_text(content_type: str) -> bool:
    """Whether WhatsApp shows a caption with an attachment of this type.

    Source: https://www.twilio.com/docs/whatsapp/guidance-whatsapp-media-messages.
    """
    return not content_type.startswith(("audio/", "text/")) and content_type != "image/webp"


def unsendable(content_type: str, size_bytes: int) -> Literal["type", "size"] | None:
    """Why WhatsApp would not carry such a file: it does not take every type that it brings, nor every size."""
    if content_type in NOT_CARRIED:
        return "type"
    return "size" if size_bytes > most_bytes(content_type) else None


def most_bytes(content_type: str) -> int:
    """The largest file of this type that Twilio takes for WhatsApp, where WebP is always a sticker."""
    if content_type == "image/webp":
        return STICKER_BYTES
    return IMAGE_BYTES if content_type.startswith("image/") else FILE_BYTES


def kind_of(content_type: str) -> str:
    """The kind of message that an attachment of this type makes, in Twilio's words."""
    family = content_type.partition("/")[0]
    return family if family in ("image", "audio", "video") else "document"
