"""Text from outside, made storable: what a contact, a model, a file, a caller or Twilio wrote.

Every door cleans what comes through it: `storable` where the words must stay as they are, `tidy` where a machine made
them. What a door forgets, the database's adapter (`db/adapt.py`) makes storable before it is sent to PostgreSQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

#: Unicode's default-ignorable characters (DerivedCoreProperties.txt), and those that it calls letters, symbols or
#: format characters although nothing is seen of them: they take room, or none. Ranges of code points.
INVISIBLE: Final = (
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D159, 0x1D159),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
#: The same, as the inside of a class of a regular expression; every dialect takes the characters themselves.
INVISIBLE_CLASS: Final = "".join(chr(first) + (f"-{chr(last)}" if last > first else "") for first, last in INVISIBLE)

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# `\s` has U+001C to U+001F; the other controls show nothing either.
_SHOWN = re.compile(f"[^\\s\x00-\x1f\x7f-\x9f\ud800-\udfff{INVISIBLE_CLASS}]")


def storable(text: str) -> str:
    """The text without what PostgreSQL can't store: NUL, and halves of characters."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii() or not _SURROGATE.search(text):
        return text
    # Two halves that belong together become their character again.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def tidy(text: str) -> str:
    """Storable, without controls but tab and line feed, and without blanks around it; empty when it shows nothing.

    For what a machine made: a model's answer, a transcript. Line ends become line feeds.
    """
    text = storable(text)
    if not text.isprintable():
        text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "" if is_blank(text) else text.strip()


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing of it: blanks, controls, zero-width and other invisible characters at most."""
    return _SHOWN.search(text) is None


def is_storable(text: str) -> bool:
    """Whether PostgreSQL stores it as it is."""
    return "\0" not in text and (text.isascii() or _SURROGATE.search(text) is None)


def storable_json(value: Any) -> str:
    """The value as JSON that PostgreSQL stores, `jsonb` too; like `json.dumps` else."""
    written = json.dumps(value)
    # What is not ASCII is written in small letters; a pair that is a character is not looked at any further.
    if "\\u0000" not in written and "\\ud" not in written:
        return written
    return json.dumps(all_storable(value))


def all_storable(value: Any) -> Any:
    """The value with every text of it storable, however deep in lists and objects."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(key) if isinstance(key, str) else key: all_storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [all_storable(item) for item in value]
    return value
