"""Names that strangers choose, as they may be shown."""

from __future__ import annotations

import unicodedata

from recado.text import is_blank

NAME_CHARS = 128
_JOINERS = "\u200c\u200d"
# They take room, or none, and show nothing, though Unicode calls them letters or symbols.
_LOOKS_EMPTY = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5")


def visible(text: str, *, at_most: int = NAME_CHARS) -> str | None:
    """A name as it may be shown: one line, nothing invisible, nothing that turns the direction of what follows.

    Joiners stay between two visible characters, where emoji and several scripts need them.
    """
    # What may be left out of it is bounded too: each character is looked at.
    text = text[: 8 * at_most]
    if not (text.isascii() and text.isprintable()):
        text = "".join(" " if char.isspace() else char for char in text)
        kept = [char for char in text if char in _JOINERS or not _is_invisible(char)]
        text = "".join(
            char
            for index, char in enumerate(kept)
            if char not in _JOINERS
            or (0 < index < len(kept) - 1 and not set(kept[index - 1] + kept[index + 1]) & {" ", *_JOINERS})
        )
        text = unicodedata.normalize("NFC", text)
    text = " ".join(text.split())[:at_most].strip()
    return None if is_blank(text) else text


def _is_invisible(char: str) -> bool:
    return char in _LOOKS_EMPTY or unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn"}
