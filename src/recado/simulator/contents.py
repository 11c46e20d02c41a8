"""Content as the Content API knows it: templates with variables, what they look like, and whether WhatsApp allows them.

Pure. Shapes: https://www.twilio.com/docs/content/content-types-overview; limits of WhatsApp's quick replies and list
pickers: https://www.twilio.com/docs/content/twilio-quick-reply and https://www.twilio.com/docs/content/twilio-list-picker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ApprovalStatus = Literal["unsubmitted", "received", "pending", "approved", "rejected", "paused", "disabled"]

NEVER_APPROVED = frozenset({"twilio/list-picker", "twilio/location"})
"""Types that go within the 24-hour window only."""

#: The richest that WhatsApp can show wins where a content offers several types.
_RICHEST_FIRST = (
    "whatsapp/card",
    "twilio/card",
    "twilio/list-picker",
    "twilio/quick-reply",
    "twilio/call-to-action",
    "twilio/media",
    "twilio/location",
    "twilio/text",
)
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_MAX_ITEMS, _MAX_ITEM, _MAX_DESCRIPTION = 10, 24, 72
_MAX_REPLIES, _MAX_SESSION_REPLIES, _MAX_TITLE = 10, 3, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Something to tap: a button or an item of a list. `does` is what a tap does: `reply`, `item`, or nothing here."""

    id: str
    title: str
    description: str = ""
    does: Literal["reply", "title", "item", "url", "phone", "code"] = "reply"
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What a rich message shows besides its words; `opener` is the label of the button that opens a list."""

    content_type: str
    choices: tuple[Choice, ...] = ()
    opener: str = ""
    latitude: float | None = None
    longitude: float | None = None
    label: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """WhatsApp's word on a content; `asked_at` is when it was submitted."""

    name: str = ""
    category: str = ""
    content_type: str = ""
    status: ApprovalStatus = "unsubmitted"
    rejection_reason: str = ""
    asked_at: float = 0.0


@dataclass(slots=True, kw_only=True, eq=False)
class Content:
    """One content of an account; `types` holds its forms by type, as they were given."""

    sid: str
    account_sid: str
    friendly_name: str
    language: str
    variables: dict[str, str]
    types: dict[str, dict[str, Any]]
    created_at: float
    updated_at: float
    approval: Approval = field(default_factory=Approval)

    @property
    def type(self) -> str:
        """The form that WhatsApp shows."""
        return shown_type(self.types)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A content with its variables filled in."""

    body: str
    media_urls: tuple[str, ...] = ()
    face: Face | None = None


class MissingVariable(Exception):
    """A placeholder has neither a value nor a sample."""


class BadContent(Exception):
    """A content that the Content API does not take; the text says why."""


def shown_type(types: Iterable[str]) -> str:
    """The type that WhatsApp shows of those offered."""
    there = list(types)
    return next((name for name in _RICHEST_FIRST if name in there), there[0] if there else "twilio/text")


def read_variables(text: str) -> dict[str, str] | None:
    """ContentVariables as a dictionary of strings; None when it is not a JSON object of strings."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return None
    return found


def render(content: Content, variables: Mapping[str, str]) -> Rendered:
    """The content as the contact sees it; samples stand in for values that are not given.

    Raises:
        MissingVariable: a placeholder has neither.

    """
    values = {**content.variables, **variables}

    def fill(node: Any) -> Any:
        if isinstance(node, str):
            return _VARIABLE.sub(lambda found: _value(values, found[1]), node)
        if isinstance(node, list):
            return [fill(item) for item in node]
        if isinstance(node, dict):
            return {name: fill(value) for name, value in node.items()}
        return node

    form = fill(content.types[content.type])
    media = form.get("media") or []
    return Rendered(
        body=_words(form),
        media_urls=tuple([media] if isinstance(media, str) else media),
        face=_face(content.type, form),
    )


def _value(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise MissingVariable(name)
    return values[name]


def _words(form: Mapping[str, Any]) -> str:
    lines = (form.get("header_text"), form.get("title"), form.get("body"), form.get("subtitle"), form.get("footer"))
    return "\n".join(line for line in lines if line)


def _face(content_type: str, form: Mapping[str, Any]) -> Face | None:
    if content_type == "twilio/list-picker":
        items = tuple(
            Choice(id=item["id"], title=item["item"], description=item.get("description") or "", does="item")
            for item in form["items"]
        )
        return Face(content_type=content_type, choices=items, opener=form["button"])
    if content_type == "twilio/location":
        return Face(
            content_type=content_type,
            latitude=form["latitude"],
            longitude=form["longitude"],
            label=form.get("label") or "",
            address=form.get("address") or "",
        )
    choices = tuple(_button(content_type, action) for action in form.get("actions") or ())
    return Face(content_type=content_type, choices=choices) if choices else None


def _button(content_type: str, action: Mapping[str, Any]) -> Choice:
    kind = action.get("type") or "QUICK_REPLY"
    title, target = action["title"], action.get("url") or action.get("phone") or action.get("code") or ""
    if kind == "QUICK_REPLY":
        # A card's quick reply tells its title and nothing else.
        does: Literal["reply", "title"] = "title" if content_type.endswith("/card") else "reply"
        return Choice(id=action.get("id") or title, title=title, does=does)
    return Choice(
        id=action.get("id") or title,
        title=title,
        does="url" if kind == "URL" else "phone" if kind in ("PHONE_NUMBER", "VOICE_CALL") else "code",
        target=target,
    )


def sendable_in_session(rendered: Rendered) -> bool:
    """Whether WhatsApp takes it without approval: three quick replies at most."""
    replies = [choice for choice in (rendered.face.choices if rendered.face else ()) if choice.does == "reply"]
    return len(replies) <= _MAX_SESSION_REPLIES


def check(types: Mapping[str, Any]) -> None:
    """Raise `BadContent` for what the Content API or WhatsApp's limits refuse."""
    if not types:
        raise BadContent("Types are required")
    for name, form in types.items():
        if name not in _RICHEST_FIRST:
            raise BadContent(f"Type {name} is not supported by the simulator")
        if not isinstance(form, dict):
            raise BadContent(f"{name} must be an object")
        for needed in _NEEDED.get(name, ()):
            if form.get(needed) in (None, "", []):
                raise BadContent(f"{name} needs {needed}")
        if name == "twilio/list-picker":
            _check_items(form)
        if name == "twilio/quick-reply":
            _check_replies(form)


_NEEDED: dict[str, tuple[str, ...]] = {
    "twilio/text": ("body",),
    "twilio/media": ("media",),
    "twilio/quick-reply": ("body", "actions"),
    "twilio/list-picker": ("body", "button", "items"),
    "twilio/call-to-action": ("body", "actions"),
    "twilio/card": ("title",),
    "twilio/location": ("latitude", "longitude"),
    "whatsapp/card": ("body",),
}


def _check_items(form: Mapping[str, Any]) -> None:
    items = form["items"]
    if len(items) > _MAX_ITEMS:
        raise BadContent(f"A list picker holds {_MAX_ITEMS} items")
    if len(form["button"]) > _MAX_TITLE:
        raise BadContent(f"A list picker's button holds {_MAX_TITLE} characters")
    for item in items:
        if not item.get("id") or not item.get("item"):
            raise BadContent("An item needs id and item")
        if len(item["item"]) > _MAX_ITEM or len(item.get("description") or "") > _MAX_DESCRIPTION:
            raise BadContent(f"An item holds {_MAX_ITEM} characters, its description {_MAX_DESCRIPTION}")
    if len({item["id"] for item in items}) < len(items):
        raise BadContent("Items need different ids")


def _check_replies(form: Mapping[str, Any]) -> None:
    actions = form["actions"]
    if len(actions) > _MAX_REPLIES:
        raise BadContent(f"A quick reply holds {_MAX_REPLIES} buttons")
    if any(not action.get("title") or len(action["title"]) > _MAX_TITLE for action in actions):
        raise BadContent(f"A button's title holds 1 to {_MAX_TITLE} characters")
