"""What counts in a short message: its words without accents, their stems, and words that ask for the same thing.

Pure and without a database. Brazilians type without accents and stemmers expect them, so a word stands for several
lexemes: as typed, its stem, and the stem of its form without accents. Two words match when they share one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import snowballstemmer  # type: ignore[import-untyped]

from recado.assistants.vocabulary import SAME, SHORT, STOP, TELLING, VAGUE, Language

_STEMMERS = {"pt": "portuguese", "es": "spanish", "en": "english"}
_WORD = re.compile(r"[^\W_]+")
_ADDRESS = re.compile(r"\S*(?:://|www\.|@)\S*|\S+\.com\S*", re.IGNORECASE)
#: How far a language must be ahead in several messages together, two words; and what one of them counts at most.
SURE, MOST = 4, 6
_DRAWN_OUT = re.compile(r"([^\W\d_])\1{2,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word that carries meaning, the lexemes that are it, and those of words that ask for the same thing.

    `vague` words ("que horas", "onde") are no evidence by themselves.
    """

    text: str
    exact: frozenset[str]
    near: frozenset[str]
    vague: bool


def fold(text: str) -> str:
    """Lower case, without accents: `Horário` and `horario` become one."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, accents kept, letters that were drawn out ("oiiii") shortened."""
    composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return [_DRAWN_OUT.sub(r"\1", word) for word in _WORD.findall(composed)]


@lru_cache(maxsize=50_000)
def lexemes(word: str, language: str) -> frozenset[str]:
    """Everything that a word may be found as, without accents."""
    plain = fold(word)
    found = {plain, _stem(plain, language), fold(_stem(word, language))}
    if language == "pt" and plain.endswith(("oes", "aes")):
        found.add(plain[:-3] + "ao")
    return frozenset(lexeme for lexeme in found if lexeme.isalnum())


def indexed(text: str, language: str) -> frozenset[str]:
    """The lexemes under which a knowledge entry's text is found."""
    return frozenset(lexeme for word in tokens(text) for lexeme in lexemes(word, language))


def asked(text: str, language: str) -> tuple[Word, ...]:
    """The words of a question that carry meaning, each once, in order; empty for small talk."""
    found: dict[frozenset[str], Word] = {}
    for token in tokens(text):
        word = SHORT.get(fold(token), token)
        plain = fold(word)
        if plain in STOP or (len(plain) < 2 and not plain.isdigit()):
            continue
        exact = lexemes(word, language)
        found.setdefault(exact, Word(text=plain, exact=exact, near=_near(plain, exact), vague=plain in VAGUE))
    return tuple(found.values())


def detect(text: str) -> Language | None:
    """The language of a message by its small words and letters; None when they don't tell."""
    (best, most), (_, next_), *_ = _scores(text)
    return best if most > next_ else None


def written_in(texts: Iterable[str]) -> Language | None:
    """The language that somebody's messages together are surely written in; None when that is not sure.

    Each counts by how far its language is ahead, but one alone by no more than three words: what was pasted once is
    not what they speak. Addresses of the web and of mail are of no language.
    """
    votes = dict.fromkeys(TELLING, 0)
    for text in texts:
        (best, most), (_, next_), *_ = _scores(_ADDRESS.sub(" ", text))
        votes[best] += min(most - next_, MOST)
    (best, most), (_, next_), *_ = sorted(votes.items(), key=lambda item: -item[1])
    return best if most - next_ >= SURE else None


def _scores(text: str) -> list[tuple[Language, int]]:
    """The languages with what speaks for them, the likeliest first; a word that tells counts two."""
    words = {fold(token) for token in tokens(text)}
    scores: dict[Language, int] = {}
    for language, telling in TELLING.items():
        scores[language] = 2 * len(words & telling)
    letters = set(unicodedata.normalize("NFC", text.casefold()))
    scores["pt"] += 2 * len(letters & set("ãõç"))
    scores["es"] += 2 * len(letters & set("ñ¿¡"))
    return sorted(scores.items(), key=lambda item: -item[1])


def almost(left: str, right: str) -> bool:
    """Whether one slip of the finger (a letter missing, added, changed or two swapped) parts two words."""
    if left == right:
        return True
    if abs(len(left) - len(right)) > 1:
        return False
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    a, b = left[start:], right[start:]
    swapped = len(a) == len(b) >= 2 and a[0] == b[1] and a[1] == b[0] and a[2:] == b[2:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or swapped


@lru_cache(maxsize=8)
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(_STEMMERS[language])


@lru_cache(maxsize=50_000)
def _stem(word: str, language: str) -> str:
    return str(_stemmer(language).stemWord(word)) if language in _STEMMERS else word


def _near(plain: str, exact: frozenset[str]) -> frozenset[str]:
    called = frozenset(word for callers, called in SAME if plain in callers for word in called)
    return called - exact
