"""Texts as Twilio's records give them back: the same to a reader, not to the letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Literal

Rewrite = Literal["lines", "blanks", "composed", "decomposed", "smart", "invisible", "cut", "trial", "redacted", "all"]

#: What Smart Encoding does (https://www.twilio.com/docs/messaging/services/smart-encoding), in part.
_SMART = str.maketrans(
    {
        "\u201c": '"',
        "\u201d": '"',
        "\u2018": "'",
        "\u2019": "'",
        "\u2013": "-",
        "\u2014": "-",
        "\u2026": "...",
        "\u00a0": " ",
    }
)


def _blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def _invisible(text: str) -> str:
    return "".join(one for one in text if one == "\n" or unicodedata.category(one) not in ("Cc", "Cf"))


def _all(text: str) -> str:
    text = _blanks(_invisible(unicodedata.normalize("NFC", text).translate(_SMART)))
    return text.replace("\n", "\r\n")[:1600]


_REWRITES: dict[Rewrite, Callable[[str], str]] = {
    "lines": lambda text: text.replace("\n", "\r\n"),
    "blanks": _blanks,
    "composed": lambda text: unicodedata.normalize("NFC", text),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "smart": lambda text: text.translate(_SMART),
    "invisible": _invisible,
    "cut": lambda text: text[:1600],
    "trial": lambda text: f"Sent from your Twilio trial account - {text}",
    "redacted": lambda text: "*" * len(text),
    "all": _all,
}


def rewritten(text: str, how: Rewrite | None) -> str:
    """The text in that form."""
    return text if how is None else _REWRITES[how](text)
