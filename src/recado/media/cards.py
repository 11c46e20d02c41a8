"""Contact cards (vCard 2.1, 3.0 and 4.0) as phones write them, read with forgiveness: what is wrong costs itself alone.

A parser of our own, as `vobject` gives up a whole file for a property that it does not understand. Pure and linear in
what is read; never raises. Source: RFC 6350, RFC 2426, and for 2.1 https://www.w3.org/2002/12/cal/vcard-notes.html.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from recado.channels.visible import visible
from recado.media import utf16

#: What is read of a file, and of one property, pictures and the like apart, which are left out unread.
MOST_BYTES: Final = 2 * 1024 * 1024
PROPERTY_BYTES: Final = 4_096

CARDS: Final = 20
NUMBERS: Final = 10
NAME_CHARS: Final = 128

_WANTED: Final = frozenset({"BEGIN", "END", "FN", "N", "NICKNAME", "ORG", "TEL", "EMAIL"})
_HEAD: Final = re.compile(rb"[ \t]*(?:[\w-]{1,40}\.)?([A-Za-z-]{1,40})[ \t]*([;:])")
#: What a value may be escaped with, in any of the versions.
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PARTS: Final = re.compile(r"(?<!\\);")
#: Character sets that people's phones name; the other codecs of Python are no such thing.
_CHARSET: Final = re.compile(
    r"(?:UTF|ISO|WINDOWS|CP|US-ASCII|ASCII|LATIN|KOI8|BIG5|GB|EUC|SHIFT|SJIS|MAC|TIS)[A-Z0-9_:-]{0,20}"
)


@dataclass(frozen=True, slots=True)
class _Property:
    name: str
    value: str = field(repr=False)


def read(data: bytes) -> list[dict[str, Any]]:
    """The cards of a file as `{"name", "organization", "phones", "emails"}`, those that say anything, `CARDS` at most.

    Without `BEGIN` it is one card, and one that no `END` closes ends where the next begins.
    """
    cards: list[dict[str, Any]] = []
    said: dict[str, list[str]] = {}
    for line in _properties(_as_utf8(data[:MOST_BYTES])):
        if line.name in ("BEGIN", "END"):
            # Whatever else is in a card: what it holds of that belongs to it.
            if line.value.strip().upper() == "VCARD":
                cards += _card(said)
                said = {}
                if len(cards) >= CARDS:
                    return cards
        elif line.value and len(values := said.setdefault(line.name, [])) < NUMBERS and line.value not in values:
            values.append(line.value)
    return [*cards, *_card(said)][:CARDS]


def _card(said: dict[str, list[str]]) -> list[dict[str, Any]]:
    name = next(iter([*said.get("FN", ()), *said.get("N", ()), *said.get("NICKNAME", ())]), None)
    organization = next(iter(said.get("ORG", ())), None)
    phones, emails = said.get("TEL", []), said.get("EMAIL", [])
    if not (name or organization or phones or emails):
        return []
    return [{"name": name, "organization": organization, "phones": phones, "emails": emails}]


def _as_utf8(data: bytes) -> bytes:
    """The same without a byte order mark; from UTF-16, which some phones write, where its mark or its zeros tell."""
    if codec := utf16.codec_of(data[:8]):
        return data.decode(codec, "replace").encode("utf-8", "replace")
    return data.removeprefix(b"\xef\xbb\xbf")


def _properties(data: bytes) -> Iterator[_Property]:
    for line in _logical_lines(data):
        head = _HEAD.match(line)
        if head is None or (name := head[1].decode("ascii").upper()) not in _WANTED:
            continue
        parameters, value = (b"", line[head.end() :]) if head[2] == b":" else _parted(line[head.end() :])
        text = _decoded(name, _parameters(parameters), value)
        if text:
            yield _Property(name, text)


def _logical_lines(data: bytes) -> Iterator[bytes]:
    """The lines as they were before they were folded, each cut to `PROPERTY_BYTES`; of a picture only its beginning.

    Folded is a line that begins with a blank or a tab, and in 2.1 the next one after a soft line break (`=` at the end
    of a quoted-printable value).
    """
    kept: list[bytes] = []
    room = 0
    soft = False
    for line in re.split(rb"\r\n|\r|\n", data):
        if soft and (head := _HEAD.match(line)) is not None:
            # What stood before ended in a stray "=", unless somebody's text goes on with a property's name.
            soft = head[1].decode("ascii").upper() not in _WANTED
        if kept and (soft or line[:1] in (b" ", b"\t")):
            more = line if soft else line[1:]
            kept.append(more[: max(room, 0)])
        else:
            if kept:
                yield b"".join(kept)
            kept, room = [line[:PROPERTY_BYTES]], PROPERTY_BYTES
            more = kept[0]
        room -= len(more)
        quoted = b"QUOTED-PRINTABLE" in kept[0][:200].upper()
        soft = quoted and line.rstrip(b" \t").endswith(b"=")
        if soft:
            kept[-1] = kept[-1].rstrip(b" \t").removesuffix(b"=")
    if kept:
        yield b"".join(kept)


def _parted(rest: bytes) -> tuple[bytes, bytes]:
    """Parameters and value: parted by the first colon outside quotes, or the first one where a quote is not closed."""
    quoted = False
    for index, byte in enumerate(rest):
        if byte == 0x22:
            quoted = not quoted
        elif byte == 0x3A and not quoted:
            return rest[:index], rest[index + 1 :]
    parameters, _, value = rest.partition(b":")
    return parameters, value


def _parameters(said: bytes) -> dict[str, str]:
    """By their names; in 2.1 a value may stand alone (`;QUOTED-PRINTABLE`), then it is its own name."""
    found: dict[str, str] = {}
    for parameter in said.upper().decode("ascii", "replace").split(";"):
        name, _, value = parameter.partition("=")
        found[name.strip()] = value.strip().strip('"')
    return found


def _decoded(name: str, parameters: dict[str, str], value: bytes) -> str:
    """The value as a person reads it, on one line."""
    encoding = parameters.get("ENCODING", "")
    if encoding == "QUOTED-PRINTABLE" or "QUOTED-PRINTABLE" in parameters:
        value = quopri.decodestring(value)
    elif encoding in ("B", "BASE64") or "BASE64" in parameters:
        value = _from_base64(value)
    text = _text(value, parameters.get("CHARSET", ""))
    if name in ("TEL", "EMAIL"):
        scheme, colon, rest = text.strip().partition(":")
        if colon and scheme.strip().lower() in ("tel", "sms", "callto", "mailto"):
            # RFC 3966: what follows a semicolon says how to dial, for instance an extension.
            text = unquote(rest.partition(";")[0].partition("?")[0])
    parts = _PARTS.split(text) if name in ("N", "ORG") else [text]
    if name == "N" and len(parts) > 1:
        # Family, given and additional names, prefixes, suffixes: said as people say them.
        family, given, *others = [*parts, "", "", ""][:5]
        parts = [others[1], given, others[0], family, others[2]]
    plain = " ".join(_ESCAPED.sub(lambda found: " " if found[1] in "nN" else found[1], part) for part in parts)
    return visible(plain, at_most=NAME_CHARS) or ""


def _from_base64(value: bytes) -> bytes:
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", value)
    try:
        return base64.b64decode(kept[: len(kept) - (len(kept) % 4 == 1)] + b"==")
    except (binascii.Error, ValueError):
        return b""


def _text(value: bytes, charset: str) -> str:
    """In the character set that is named; where none is, or it is not so, in UTF-8, else as Windows writes it."""
    named = [charset] if _CHARSET.fullmatch(charset) else []
    for codec in (*named, "utf-8"):
        try:
            return value.decode(codec)
        except (LookupError, ValueError):
            continue
    return value.decode("cp1252", "replace")
