"""Reading a message: all that it holds beyond its body, for operators, programs and assistants.

A message is stored whole, parameters and attachments; what it means is read from them each time it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from recado.channels.port import Forwarded, Inbound, Referral
from recado.channels.twilio.parse import read_stored, unread
from recado.channels.visible import visible
from recado.conversations import media as attachments
from recado.conversations.media import Media
from recado.db.pool import Row
from recado.db.scope import Scope
from recado.delivery.content import Attachment, Content, from_json
from recado.errors import Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place that the contact sent; the name and the address are as they came."""

    latitude: float | None = field(repr=False)
    longitude: float | None = field(repr=False)
    name: str | None = field(repr=False)
    address: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One person or company of a contact card."""

    name: str | None = field(repr=False)
    organization: str | None = field(repr=False)
    phones: tuple[str, ...] = field(repr=False)
    emails: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button that was tapped; `payload` is what it was given when it was sent: route on that."""

    text: str | None = field(repr=False)
    payload: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen from a list; `id` is what the item was given when it was sent."""

    id: str | None = field(repr=False)
    title: str | None = field(repr=False)
    description: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The message that this one answers; without an id it is not, or no longer, known here."""

    message_id: UUID | None = None
    author: str | None = None
    kind: str | None = None
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one message holds. `body` is what the contact wrote, `transcript` what they said aloud.

    `others` are its own parameters that nothing else here tells, by their names. `sent` is what an outbound message is
    beyond its text; its attachment is among `media`.
    """

    author: str
    kind: str
    body: str = field(repr=False)
    transcript: str | None = field(default=None, repr=False)
    transcript_language: str | None = None
    media: tuple[Media, ...] = ()
    place: Place | None = None
    cards: tuple[Card, ...] = ()
    button: Button | None = None
    choice: Choice | None = None
    quote: Quote | None = None
    forwarded: Forwarded | None = None
    referral: Referral | None = None
    others: Mapping[str, str] = field(default_factory=dict, repr=False)
    sent: Content | None = field(default=None, repr=False)

    @property
    def words(self) -> str:
        """The contact's own words, written or spoken: what knowledge is searched for, what tells their language."""
        return "\n".join(text for text in (self.body, self.transcript) if text)


_SELECT = """
SELECT m.id, m.author, m.kind, m.body, m.transcript, m.transcript_language, m.parameters, m.content, m.account_id,
       v.contact_id
FROM messages m JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
WHERE m.owner_id = %s AND m.id = ANY(%s)
"""

# Only what the same contact wrote or was sent: nobody can quote a stranger's words into their own conversation.
_QUOTED = """
SELECT m.provider_sid AS sid, v.contact_id, m.id, m.author, m.kind, coalesce(m.transcript, m.body) AS text
FROM messages m JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
WHERE m.owner_id = %(owner)s AND m.account_id = ANY(%(accounts)s) AND m.provider_sid = ANY(%(sids)s)
UNION ALL
SELECT p.provider_sid, v.contact_id, m.id, m.author, m.kind, p.body
FROM message_parts p
JOIN messages m ON m.owner_id = p.owner_id AND m.id = p.message_id
JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
WHERE p.owner_id = %(owner)s AND m.account_id = ANY(%(accounts)s) AND p.provider_sid = ANY(%(sids)s)
"""


async def of(scope: Scope, message_ids: Sequence[UUID]) -> dict[UUID, Reading]:
    """The readings of these messages by their ids; one that there is not is left out."""
    if not message_ids:
        return {}
    rows = await (await scope.conn.execute(_SELECT, [scope.owner_id, list(message_ids)])).fetchall()
    found = await attachments.of_messages(scope, message_ids)
    # An upload belongs to no message: what was sent names it.
    sent = {row["id"]: content for row in rows if (content := _sent(row["content"])) is not None}
    named = {key: content.media_id for key, content in sent.items() if isinstance(content, Attachment)}
    uploads = await attachments.by_ids(scope, list(named.values())) if named else {}
    found |= {key: [uploads[media_id]] for key, media_id in named.items() if media_id in uploads}
    told = {row["id"]: _told(row["parameters"]) for row in rows}
    quoted = await _quoted(scope, rows, told)
    return {
        row["id"]: read(row, told[row["id"]], found.get(row["id"], []), quoted.get(row["id"]), sent=sent.get(row["id"]))
        for row in rows
    }


def read(
    row: Row, told: Inbound | None, media: Sequence[Media], quoted: Quote | None, *, sent: Content | None = None
) -> Reading:
    """The reading of a message from its row, what the channel told, its attachments and what it quotes."""
    known: dict[str, Any] = {}
    if told is not None:
        known = {
            "place": _place(told),
            "button": _button(told),
            "choice": _choice(told),
            "quote": quoted or (Quote() if told.replied_to_sid else None),
            "forwarded": told.forwarded,
            "referral": told.referral,
            "others": unread(told),
        }
    return Reading(
        author=row["author"],
        kind=row["kind"],
        body=row["body"],
        transcript=row["transcript"],
        transcript_language=row["transcript_language"],
        media=tuple(media),
        cards=tuple(card for one in media if row["kind"] == "contacts" for card in cards(one.text)),
        sent=sent,
        **known,
    )


def cards(text: str | None) -> list[Card]:
    """The contact cards that `media.text` found; none where it found something else."""
    try:
        found = json.loads(text or "[]")
        return [
            Card(
                name=card["name"],
                organization=card["organization"],
                phones=tuple(card["phones"]),
                emails=tuple(card["emails"]),
            )
            for card in found
        ]
    except (ValueError, TypeError, KeyError):
        return []


def _told(parameters: Mapping[str, Sequence[str]] | None) -> Inbound | None:
    try:
        return read_stored(parameters) if parameters else None
    except Rejected:  # what an owner's own program stored in another form is shown without its details
        return None


def _sent(content: Mapping[str, Any] | None) -> Content | None:
    try:
        return from_json(content) if content is not None else None
    except (ValueError, TypeError):  # a form of another version is shown without what it holds
        return None


async def _quoted(scope: Scope, rows: Sequence[Row], told: Mapping[UUID, Inbound | None]) -> dict[UUID, Quote]:
    """What each message quotes, by the quoting message's id, where that is known here."""
    sids = {
        row["id"]: inbound.replied_to_sid for row in rows if (inbound := told[row["id"]]) and inbound.replied_to_sid
    }
    if not sids:
        return {}
    values = {
        "owner": scope.owner_id,
        "accounts": list({row["account_id"] for row in rows}),
        "sids": list(set(sids.values())),
    }
    quoted = await (await scope.conn.execute(_QUOTED, values)).fetchall()
    # Of a message in one part both halves find it, and say the same.
    known = {(row["contact_id"], row["sid"]): row for row in quoted}
    return {
        row["id"]: Quote(message_id=hit["id"], author=hit["author"], kind=hit["kind"], text=hit["text"] or None)
        for row in rows
        if (hit := known.get((row["contact_id"], sids.get(row["id"])))) is not None
    }


def _place(told: Inbound) -> Place | None:
    if told.kind != "location":
        return None
    return Place(
        latitude=told.latitude,
        longitude=told.longitude,
        name=visible(told.label or ""),
        address=visible(told.address or "", at_most=500),
    )


def _button(told: Inbound) -> Button | None:
    if told.kind not in ("button", "call_permission") and told.button_payload is None:
        return None
    return Button(text=told.button_text or told.body or None, payload=told.button_payload)


def _choice(told: Inbound) -> Choice | None:
    if told.list_id is None and told.list_title is None:
        return None
    return Choice(id=told.list_id, title=told.list_title, description=told.list_description)
