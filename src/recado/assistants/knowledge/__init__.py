"""What an owner's company knows: questions with their answers, read from Markdown or CSV, found by their words."""

from recado.assistants.knowledge.entries import Listed, Replaced, analyse, forget, listed, page, replace
from recado.assistants.knowledge.files import Entry, language_of, read, read_csv, read_markdown
from recado.assistants.knowledge.search import QUESTION_CHARS, Match, search

__all__ = [
    "QUESTION_CHARS",
    "Entry",
    "Listed",
    "Match",
    "Replaced",
    "analyse",
    "forget",
    "language_of",
    "listed",
    "page",
    "read",
    "read_csv",
    "read_markdown",
    "replace",
    "search",
]
