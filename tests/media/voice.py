"""The committed voice notes, and how much of one was understood."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data" / "voice"


@dataclass(frozen=True, slots=True)
class Note:
    """A note and what is spoken in it."""

    path: Path
    language: str
    text: str


NOTES = [
    Note(FOLDER / note["file"], note["language"], note["text"])
    for note in json.loads((FOLDER / "notes.json").read_text())
]


def words(text: str) -> list[str]:
    """In lower case, without accents and punctuation."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(char for char in plain if not unicodedata.combining(char)))


def accuracy(said: str, heard: str) -> float:
    """1 less the word error rate: the share of words that need not be changed, added or taken away."""
    reference, hypothesis = words(said), words(heard)
    costs = list(range(len(hypothesis) + 1))
    for row, left in enumerate(reference, 1):
        diagonal, costs[0] = costs[0], row
        for column, right in enumerate(hypothesis, 1):
            diagonal, costs[column] = (
                costs[column],
                min(costs[column] + 1, costs[column - 1] + 1, diagonal + (left != right)),
            )
    return 1 - costs[-1] / len(reference)
