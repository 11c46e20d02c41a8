"""From a file to entries: Markdown by its headings, CSV by its rows. Pure, and linear in the text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from recado.assistants import words
from recado.errors import UsageError
from recado.text import is_blank

PATH = " › "
TITLE_CHARS = 300
CONTENT_CHARS = 20_000

_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
#: So much of the entries tells their language.
TELLING_CHARS = 10_000
_HEADERS = {
    ("question", "answer"),
    ("title", "content"),
    ("pergunta", "resposta"),
    ("titulo", "conteudo"),
    ("pregunta", "respuesta"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing the company knows: `title` is the question or heading, `content` its answer."""

    title: str
    content: str


def read(name: str, data: bytes) -> list[Entry]:
    """The entries of a file, by its name's ending: `.csv`, or Markdown for `.md`, `.markdown` and `.txt`.

    Raises UsageError, which names what is wrong, for another ending, another encoding than UTF-8, or no entry.
    """
    ending = name.rpartition(".")[2].casefold() if "." in name else ""
    if ending not in ("csv", "md", "markdown", "txt"):
        raise UsageError(f"{name}: knowledge is read from .md, .markdown, .txt or .csv")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name}: not UTF-8 text; save it again with the encoding UTF-8") from None
    if "\0" in text or _CONTROL.subn("", text)[1] > len(text) // 2:
        raise UsageError(f"{name}: not a text file")
    entries = read_csv(text, name=name) if ending == "csv" else read_markdown(text, name=name)
    if not entries:
        raise UsageError(f"{name}: no entry found; a heading (or a question) needs text (or an answer) to go with it")
    return entries


def read_markdown(text: str, *, name: str = "knowledge") -> list[Entry]:
    """Each heading that has text below it; a nested heading's title is its path. Text before any heading: `name`."""
    entries: list[Entry] = []
    path: list[tuple[int, str]] = []
    body: list[str] = []
    fence: str | None = None

    def close() -> None:
        content = "\n".join(body).strip()
        if not is_blank(content):
            title = PATH.join(heading for _, heading in path if heading) or _stem_of(name)
            entries.append(_entry(title, content, where=f"{name}: entry {len(entries) + 1}"))
        body.clear()

    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence is not None:
            fence = None if mark and mark[1].startswith(fence) else fence
        elif mark:
            fence = mark[1]
        elif heading := _HEADING.match(line):
            close()
            depth = len(heading[1])
            path = [*(outer for outer in path if outer[0] < depth), (depth, _heading(line[heading.end() :]))]
            continue
        body.append(line)
    close()
    return entries


def _heading(said: str) -> str:
    """What a heading says, without the marks that may close it."""
    said = said.strip()
    bare = said.rstrip("#")
    return said if bare and bare[-1] not in " \t" else bare.rstrip()


def read_csv(text: str, *, name: str = "knowledge") -> list[Entry]:
    """Each row's question and answer, split by comma, semicolon or tab; a row of headings is left out.

    Raises UsageError with the line's number for a row that has not exactly two filled fields.
    """
    delimiter = _delimiter(text)
    entries: list[Entry] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    first = True
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            while fields and not fields[-1]:
                fields.pop()
            if not fields:
                continue
            if first and tuple(words.fold(field[:20]) for field in fields[:3]) in _HEADERS:
                first = False
                continue
            first = False
            where = f"{name}: line {reader.line_num}"
            if len(fields) != 2 or any(map(is_blank, fields)):
                raise UsageError(f"{where}: needs two columns, question and answer")
            entries.append(_entry(fields[0], fields[1], where=where))
    except csv.Error as error:
        raise UsageError(f"{name}: line {reader.line_num}: {error}") from None
    return entries


def language_of(entries: Sequence[Entry]) -> str | None:
    """The language that the entries are in, told from the first of them; None when that can't be told."""
    said = "\n".join(f"{entry.title}\n{entry.content}" for entry in entries[:50])
    return words.detect(said, at_most=TELLING_CHARS)


def _entry(title: str, content: str, *, where: str) -> Entry:
    if len(title) > TITLE_CHARS:
        raise UsageError(f"{where}: a title may hold {TITLE_CHARS} characters")
    if len(content) > CONTENT_CHARS:
        raise UsageError(f"{where}: a text may hold {CONTENT_CHARS} characters")
    return Entry(title=title, content=content)


def _delimiter(text: str) -> str:
    """The one of comma, semicolon and tab that stands most often outside quotes in the first filled row."""
    bare = re.sub(r'"[^"]*"', "x", text)
    row = next((line for line in bare.splitlines() if line.strip()), "")
    return max(",;\t", key=row.count)


def _stem_of(name: str) -> str:
    return re.split(r"[\\/]", name)[-1].rpartition(".")[0] or name
