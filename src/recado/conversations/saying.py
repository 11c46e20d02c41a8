"""What a message says, in one text that a model and a person can read.

What is not the contact's own words stands in square brackets, which are ours alone: in everything that strangers wrote,
file names, captions and quotations too, square brackets and what looks like them are made round. So no contact can
forge a line of ours, such as a quotation of the assistant that it never said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recado.channels.visible import NAME_CHARS, visible
from recado.conversations.media import STORED, WAITING, Media
from recado.conversations.reading import Card, Quote, Reading
from recado.delivery.content import Attachment, Content, ListPicker, QuickReplies

#: What is shown of a quoted message, of a document, and of parameters that nobody knows.
QUOTE_CHARS = 300
DOCUMENT_CHARS = 6_000
OTHERS_CHARS = 2_000

#: What is shown of what the contact wrote or said: more than a message holds, less than hours of speech do.
WORDS_CHARS = 16_000

_OPEN, _CLOSED = "[［﹇⁅〔❲【〖〘〚⟦⟬⦋⦍⦏⧘⌈⌊⎡⎣", "]］﹈⁆〕❳】〗〙〛⟧⟭⦌⦎⦐⧙⌉⌋⎤⎦"
_ROUND = str.maketrans(_OPEN + _CLOSED, "(" * len(_OPEN) + ")" * len(_CLOSED))
#: The same as entities.
_SPELLED = re.compile(
    r"&(?:amp;){0,4}(?:(l)|r)(?:brack|sqb);|&(?:amp;){0,4}#(?:0{0,8}|x0{0,8})(?:(91|5b)|93|5d);", re.I
)
_VOICE = ("audio/ogg", "audio/opus", "audio/amr")
_NOUNS = {"image": "picture", "audio": "voice note", "contacts": "contact card", "location": "place"}
_WITH_A_NOUN = {"image", "audio", "video", "document", "sticker", "location", "contacts"}
_KNOWN = {*_WITH_A_NOUN, "text", "button", "interactive", "call_permission"}


def says(reading: Reading, *, document_chars: int = DOCUMENT_CHARS) -> str:
    """All that the message says, what it came with first; the team's own words are as they were written."""
    if reading.author != "contact":
        return " ".join(part for part in (_bracketed(_enclosed(reading)), reading.body, _offered(reading.sent)) if part)
    return " ".join(
        part for part in (_bracketed(_remarks(reading, document_chars)), _theirs(reading.words[:WORDS_CHARS])) if part
    )


def _bracketed(remarks: Iterator[str]) -> str:
    return " ".join(f"[{remark}]" for remark in remarks)


def _enclosed(reading: Reading) -> Iterator[str]:
    """What the team sent with its words."""
    for media in reading.media:
        noun = _noun(reading, media)
        yield f"{noun} {_quoted(media.file_name)}" if noun == "document" and media.file_name else noun
    if isinstance(reading.sent, Attachment) and not reading.media:
        yield f"{_NOUNS.get(reading.kind, reading.kind)} that is not there any more"


def _offered(sent: Content | None) -> str:
    """The buttons or the list under the team's words."""
    match sent:
        case QuickReplies():
            return f"[buttons: {' | '.join(_one_line(button.title) for button in sent.buttons)}]"
        case ListPicker():
            items = (f"{item.title}: {item.description}" if item.description else item.title for item in sent.items)
            return f"[list: {' | '.join(map(_one_line, items))}]"
        case _:
            return ""


def _remarks(reading: Reading, document_chars: int) -> Iterator[str]:
    if reading.forwarded is not None:
        yield "forwarded many times" if reading.forwarded == "often" else "forwarded"
    if reading.referral is not None:
        words = [_quoted(text) for text in (reading.referral.headline, reading.referral.body) if text]
        yield f"came from an advertisement: {', '.join(words)}" if words else "came from an advertisement"
    if reading.quote is not None:
        yield _answers(reading.quote)
    yield from _attachments(reading, document_chars)
    match reading.kind:
        case "location":
            yield _where(reading)
        case "contacts" if not reading.media:
            yield "contact card that could not be read"
        case "button":
            payload = reading.button.payload if reading.button else None
            yield f"button tapped, with the payload {_quoted(payload)}" if payload else "button tapped"
        case "interactive":
            yield _chosen(reading)
        case "call_permission":
            accepted = reading.button is not None and reading.button.payload == "ACCEPTED"
            yield f"permission to call {'given' if accepted else 'refused'}"
        case "text":
            if not reading.words and not reading.media:
                yield f"empty message{_with_others(reading)}"
        case kind if kind not in _KNOWN:
            told = _with_others(reading) or ", which can't be shown"
            yield f"message of the kind {_quoted(kind)}{told}"
        case kind if not reading.media:
            yield f"{_NOUNS.get(kind, kind)} that did not come with the message"


def _attachments(reading: Reading, document_chars: int) -> Iterator[str]:
    for media in reading.media:
        noun = _noun(reading, media)
        if media.status == WAITING:
            yield f"{noun} that was not fetched"
        elif media.status != STORED:
            yield f"{noun} that could not be had{_why(media)}"
        elif noun == "contact card":
            yield _cards(reading.cards)
        elif noun == "document":
            yield _document(media, document_chars)
        else:
            length = f", {media.duration_s:.0f} s" if media.duration_s is not None else ""
            yield noun + length + (_heard(reading, media) if noun in ("voice note", "audio") else "")


def _heard(reading: Reading, media: Media) -> str:
    return ", transcript by machine" if reading.transcript else f", which could not be made text{_why(media)}"


def _why(media: Media) -> str:
    return f": {media.reason.replace('_', ' ')}" if media.reason else ""


def _noun(reading: Reading, media: Media) -> str:
    """What to call an attachment: by the message's kind, or by its own type where that says something else."""
    if reading.kind == "contacts":
        return "contact card"
    if reading.kind in ("sticker", "document"):
        return reading.kind
    major, _, _ = (media.content_type or media.announced_type).partition("/")
    if major == "audio":
        return "voice note" if (media.content_type or media.announced_type).startswith(_VOICE) else "audio"
    return {"image": "picture", "video": "video"}.get(major, "document")


def _document(media: Media, document_chars: int) -> str:
    parts = [f"document {_quoted(media.file_name)}" if media.file_name else "document"]
    if media.pages is not None:
        parts.append(f"{media.pages} page{'s' if media.pages != 1 else ''}")
    text = _theirs((media.text or "")[:document_chars])
    if not text:
        parts.append("without text that can be read")
    elif len(media.text or "") > document_chars:
        parts.append(f"its text begins: {text}...")
    else:
        parts.append(f"its text: {text}")
    return ", ".join(parts)


def _cards(cards: tuple[Card, ...]) -> str:
    if not cards:
        return "contact card that could not be read"
    shown = []
    for card in cards:
        company = f" ({card.organization})" if card.organization else ""
        shown.append(", ".join([f"{card.name or 'no name'}{company}", *card.phones, *card.emails]))
    return _one_line(f"contact card{'s' if len(cards) > 1 else ''}: {'; '.join(shown)}", at_most=DOCUMENT_CHARS)


def _where(reading: Reading) -> str:
    place = reading.place
    if place is None:
        return "place"
    parts = [_one_line(text) for text in (place.name, place.address) if text]
    if place.latitude is not None and place.longitude is not None:
        parts.append(f"at {place.latitude:.5f}, {place.longitude:.5f}")
    return f"place: {', '.join(parts)}" if parts else "place without coordinates"


def _chosen(reading: Reading) -> str:
    if reading.choice is None:
        return f"answer to an interactive message{_with_others(reading)}"
    named = f", with the id {_quoted(reading.choice.id)}" if reading.choice.id else ""
    described = f", described as {_quoted(reading.choice.description)}" if reading.choice.description else ""
    return f"chosen from a list{described}{named}"


def _with_others(reading: Reading) -> str:
    """What a message says in parameters that nobody knows: a catalogue's order, a form that was filled in."""
    shown, left = [], OTHERS_CHARS
    for name, value in reading.others.items():
        if left <= 0:
            shown.append("and more")
            break
        shown.append(f"{_one_line(name, at_most=NAME_CHARS)} {_quoted(value, at_most=left)}")
        left -= len(shown[-1])
    return f", with {'; '.join(shown)}" if shown else ""


def _answers(quote: Quote) -> str:
    if quote.message_id is None:
        return "in reply to an earlier message that is not known"
    whose = {"contact": "their own", "assistant": "your", "system": "your"}.get(quote.author or "", "the team's")
    noun = _NOUNS.get(quote.kind or "", quote.kind) if quote.kind in _WITH_A_NOUN else "message"
    said = f": {_quoted(quote.text)}" if quote.text else ""
    return f"in reply to {whose} {noun}{said}"


def _quoted(text: str | None, *, at_most: int = QUOTE_CHARS) -> str:
    return f'"{_one_line(text or "", at_most=at_most)}"'


def _one_line(text: str, *, at_most: int = QUOTE_CHARS) -> str:
    """A stranger's text within a remark of ours: one line that can end neither the quotation nor the remark."""
    shown = visible(text, at_most=at_most + 1) or ""
    shown = shown if len(shown) <= at_most else f"{shown[:at_most]}..."
    return _theirs(shown).replace('"', "'")


def _theirs(text: str) -> str:
    text = text.translate(_ROUND)
    return _SPELLED.sub(lambda found: "(" if found[1] or found[2] else ")", text) if "&" in text else text
