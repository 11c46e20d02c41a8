"""What counts in a short message: its words without accents, their stems, and words that ask for the same thing.

Pure, without a database, and linear in the text: it runs beside webhooks. Brazilians type without accents and stemmers
expect them, so a word stands for several lexemes: as typed, its stem, and the stem of its form without accents. Two
words match when they share one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import snowballstemmer  # type: ignore[import-untyped]

from recado.assistants.vocabulary import SAME, SHORT, STOP, TELLING, VAGUE, Language

_STEMMERS = {"pt": "portuguese", "es": "spanish", "en": "english"}
_WORD = re.compile(r"[^\W_]+")
#: What makes a word without blanks an address of the web or of mail.
_ADDRESS_MARKS = ("://", "www.", "@", ".com")
#: Words are looked at so far: a longer one is no word, and PostgreSQL takes no lexeme of more than 2,046 bytes.
WORD_CHARS = 64
#: So much of a message tells its language.
DETECT_CHARS = 2_000
#: How many words of a question are looked at: who asks more asks for something else.
MOST_ASKED = 40
#: What may be an alphabet: the block of signs that a Cyrillic, Greek or Arabic letter stands in has fewer.
MOST_LETTERS = 80
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
    return [_DRAWN_OUT.sub(r"\1", word)[:WORD_CHARS] for word in _WORD.findall(composed)]


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
    """The first `MOST_ASKED` words of a question that carry meaning, each once, in order; empty for small talk."""
    found: dict[frozenset[str], Word] = {}
    for token in dict.fromkeys(tokens(text)):
        if len(found) >= MOST_ASKED:
            break
        word = SHORT.get(fold(token), token)
        plain = fold(word)
        if plain in STOP or (len(plain) < 2 and not plain.isdigit()):
            continue
        exact = lexemes(word, language)
        found.setdefault(exact, Word(text=plain, exact=exact, near=_near(plain, exact), vague=plain in VAGUE))
    return tuple(found.values())


def detect(text: str, *, at_most: int = DETECT_CHARS) -> Language | None:
    """The language of a message by the small words and letters it begins with; None when they don't tell."""
    (best, most), (_, next_), *_ = _scores(text[:at_most])
    return best if most > next_ else None


def written_in(texts: Iterable[str]) -> Language | None:
    """The language that somebody's messages together are surely written in; None when that is not sure.

    Each counts by how far its language is ahead, but one alone by no more than three words: what was pasted once is
    not what they speak. Addresses of the web and of mail are of no language.
    """
    votes = dict.fromkeys(TELLING, 0)
    for text in texts:
        (best, most), (_, next_), *_ = _scores(_without_addresses(text[:DETECT_CHARS]))
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


def _without_addresses(text: str) -> str:
    return " ".join(word for word in text.split() if not any(mark in word.casefold() for mark in _ADDRESS_MARKS))


def slips(word: str) -> Iterator[str]:
    """Every word that one slip of the finger parts from this one, whose first letter was hit.

    A slip is a letter missing, added, changed, or two swapped; the letters are those of the word's own alphabet. Some
    forty times as many as the word has letters, whatever they are looked for in.
    """
    letters = sorted({letter for character in word for letter in _alphabet(character)} | set(word))
    for at in range(1, len(word) + 1):
        before, after = word[:at], word[at:]
        if after:
            yield before + after[1:]
            yield from (before + letter + after[1:] for letter in letters if letter != after[0])
        if len(after) > 1 and after[0] != after[1]:
            yield before + after[1] + after[0] + after[2:]
        yield from (before + letter + after for letter in letters)


@lru_cache(maxsize=1_000)
def _alphabet(character: str) -> tuple[str, ...]:
    """The letters of the alphabet that one is of, as lexemes have them; none of a script of thousands of signs."""
    if character.isascii():
        return tuple("0123456789") if character.isdigit() else tuple("abcdefghijklmnopqrstuvwxyz")
    first = ord(character) & ~0x7F
    letters = tuple(chr(code) for code in range(first, first + 0x80) if _is_letter(chr(code)))
    return letters if len(letters) <= MOST_LETTERS else ()


def _is_letter(character: str) -> bool:
    return character.isalpha() and fold(character) == character


@lru_cache(maxsize=8)
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(_STEMMERS[language])


@lru_cache(maxsize=50_000)
def _stem(word: str, language: str) -> str:
    return str(_stemmer(language).stemWord(word)) if language in _STEMMERS else word


def _near(plain: str, exact: frozenset[str]) -> frozenset[str]:
    called = frozenset(word for callers, called in SAME if plain in callers for word in called)
    return called - exact
