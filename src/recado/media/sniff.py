"""What a file is by its content, whatever its sender says: one of the types that WhatsApp carries, or none.

puremagic knows by which bytes formats begin. Which of them may be kept, and what tells apart those that begin alike, is
decided here: an MP4 holds sound or pictures, a zip archive is a letter or a table. What was announced may choose
between those, and must at least be of the same family.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Final

import puremagic
from puremagic import PureError

from recado.media import utf16

#: How much of a file's beginning tells its format.
HEAD_BYTES: Final = 8192

_OOXML: Final = "application/vnd.openxmlformats-officedocument."
#: Formats by puremagic's names, the surest first, with the types that a file of this format may have.
_FORMATS: Final[dict[str, tuple[str, ...]]] = {
    ".jpg": ("image/jpeg",),
    ".png": ("image/png",),
    ".webp": ("image/webp",),
    ".pdf": ("application/pdf",),
    ".amr": ("audio/amr",),
    ".ogg": ("audio/ogg",),
    ".3gp": ("video/3gpp", "audio/3gpp"),
    ".mp4": ("video/mp4", "audio/mp4", "video/3gpp", "audio/3gpp"),
    ".aac": ("audio/aac",),
    ".mp3": ("audio/mpeg",),
    ".mpga": ("audio/mpeg",),
    ".docx": (
        f"{_OOXML}wordprocessingml.document",
        f"{_OOXML}spreadsheetml.sheet",
        f"{_OOXML}presentationml.presentation",
    ),
    ".doc": ("application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"),
}
_TEXTS: Final = ("text/plain", "text/csv", "text/vcard")
#: Every type that may be kept.
TYPES: Final = frozenset(_TEXTS).union(*_FORMATS.values())

#: What a document that shares its format with others must hold: names of its parts, as they stand in the file.
_PARTS: Final[dict[str, tuple[bytes, ...]]] = {
    f"{_OOXML}wordprocessingml.document": (b"word/document",),
    f"{_OOXML}spreadsheetml.sheet": (b"xl/workbook",),
    f"{_OOXML}presentationml.presentation": (b"ppt/presentation",),
    "application/msword": ("WordDocument".encode("utf-16-le"),),
    "application/vnd.ms-excel": ("Workbook".encode("utf-16-le"), "Book".encode("utf-16-le")),
    "application/vnd.ms-powerpoint": ("PowerPoint Document".encode("utf-16-le"),),
}
_ALIASES: Final = {
    "application/ogg": "audio/ogg",
    "audio/amr-nb": "audio/amr",
    "audio/m4a": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/opus": "audio/ogg",
    "audio/x-m4a": "audio/mp4",
    "image/jpg": "image/jpeg",
    "text/directory": "text/vcard",
    "text/x-vcard": "text/vcard",
}
#: Bytes that no text has, in any encoding that begins with ASCII.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

Content = bytes | mmap.mmap


def may_become(head: bytes, announced_type: str) -> bool:
    """Whether a file that begins with `head` can turn out to be one that may be kept."""
    return bool(_possible(head, announced_type))


def settle(path: Path, announced_type: str) -> str | None:
    """The type of a file that was announced as that; None for one that may not be kept. Reads it all: for a thread."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not head:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return next((kind for kind in _possible(head, announced_type) if _fits(content, kind)), None)


def plain(announced_type: str) -> str:
    """An announced type without its parameters, by its usual name."""
    name = announced_type.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


def _possible(head: bytes, announced_type: str) -> list[str]:
    """The types that a file with this beginning may have, what was announced first, then those of its family."""
    announced = plain(announced_type)
    unsaid = announced in ("", "application/octet-stream")
    kinds = _TEXTS if announced in _TEXTS and _is_text(head, whole=False) else _by_format(head)
    if unsaid and not kinds and _is_text(head, whole=False):
        kinds = _TEXTS[:1]
    fitting = [kind for kind in kinds if unsaid or _family(kind) == _family(announced)]
    return sorted(fitting, key=lambda kind: kind != announced)


def _by_format(head: bytes) -> tuple[str, ...]:
    try:
        found = {match.extension for match in puremagic.magic_string(head) if match.offset >= 0}
    except (PureError, ValueError):
        found = set()
    found |= _beyond(head)
    return next((kinds for name, kinds in _FORMATS.items() if name in found), ())


def _beyond(head: bytes) -> set[str]:
    """What puremagic misses where it lists, one by one, what may follow a mark: ISO 14496-12, MPEG layer III."""
    if head[4:8] == b"ftyp":
        return {".3gp" if head[8:10] == b"3g" else ".mp4"}
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08 and head[2] < 0xF0:
        return {".mp3"}
    return set()


def _family(kind: str) -> str:
    first = kind.partition("/")[0]
    return first if first in ("image", "audio", "video") else "document"


def _fits(content: Content, kind: str) -> bool:
    return _is_text(content, whole=True) if kind in _TEXTS else _has_parts(content, kind)


def _is_text(content: Content, *, whole: bool) -> bool:
    if codec := utf16.codec_of(content[:8]):
        return utf16.is_text(content, codec, whole=whole)
    return not _CONTROL.search(content)


def _has_parts(content: Content, kind: str) -> bool:
    names = _PARTS.get(kind)
    return names is None or any(content.find(name) >= 0 for name in names)
