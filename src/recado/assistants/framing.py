"""What people wrote, as it may stand in a prompt: nothing of it can open or close the platform's data block.

The block's tag ends in a word that is made up for each turn, so nobody can write it; and what a reader could take for
such a tag all the same, however it is spelled, loses its bracket. Linear in the text.
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import regex

#: What is shown of a message that is to be answered, and of an earlier one, for which each turn pays again.
LINE_CHARS: Final = 16_000
EARLIER_CHARS: Final = 6_000

TAG: Final = "data"

#: Brackets that look like the one which opens a tag, and the ways in which one is spelled: entities, escapes.
_BRACKETS: Final = "<＜﹤≮≪⋘⋖≺‹«˂〈〈⟨《⟪❬❮❰⧼⦑⦓⧀ᐸᑉᚲ︿︽𝈶"
_OPENS: Final = regex.compile(
    rf"[{_BRACKETS}]"
    r"|&(?:amp;){0,4}(?:lt|lang(?:le)?|laquo|lsaquo|#0{0,8}60|#x0{0,8}3c)"
    r"|\\{1,4}(?:u003c|x3c|u\{0{0,4}3c\}|074)"
    r"|%(?:25){0,4}3c",
    regex.IGNORECASE,
)
#: Control characters, but for line breaks and tabs.
_CONTROLS: Final = regex.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: Letters of other scripts, and some without a decomposition, that look like those of the tag.
_ALIKE: Final = {
    letter: plain
    for plain, letters in {
        "a": "аαɑᴀⱥꭺᎪꓮᗅ∀ᐃаΑ",
        "d": "ԁɗᴅɖđðꭰᎠꓒꓓᗞᗪժⅾ",
        "t": "тτᴛŧʈƭⱦꓔꭲᎢⲧт⊤┬",
    }.items()
    for letter in letters
}
#: Letters in boxes and circles, and those that flags are made of: each an alphabet in order.
_ALPHABETS: Final = (0x1F150, 0x1F170, 0x1F1E6)


def plain(text: str) -> str:
    """A text without control characters, and without what could be taken for the block's tag."""
    text = _CONTROLS.sub("", text)
    return _OPENS.sub(lambda found: "(" if _tags(text, found.end()) else found[0], text)


def block(data: Mapping[str, Any]) -> str:
    """The data block: JSON in which no tag can begin, between tags that nobody can know beforehand."""
    tag = f"{TAG}-{secrets.token_hex(4)}"
    said = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return f"<{tag}>{said}</{tag}>"


def _tags(text: str, start: int) -> bool:
    """Whether what follows reads as the tag's name, whatever of no letter stands before and between its letters.

    It ends at the next bracket, which is looked at by itself: no character is looked at twice.
    """
    name = ""
    for index in range(start, len(text)):
        if text[index] in _BRACKETS:
            return False
        name += _read_as(text[index])
        if not TAG.startswith(name[: len(TAG)]):
            return False
        if len(name) >= len(TAG):
            return True
    return False


@lru_cache(maxsize=4_096)
def _read_as(character: str) -> str:
    """The letters and digits that a reader sees in a character; none in blanks, marks and what is invisible."""
    for first in _ALPHABETS:
        if 0 <= ord(character) - first < 26:
            return chr(ord("a") + ord(character) - first)
    seen = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(_ALIKE.get(one, one) for one in seen if one in _ALIKE or one.isalnum())
