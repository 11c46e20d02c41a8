"""What an owner's company knows: questions with their answers, read from Markdown or CSV, found by their words.

The words of an entry are analysed here (`recado.assistants.words`) and kept in a tsvector, title as weight A and
content as B; PostgreSQL's full text finds the entries that share any word with a question. How well an entry covers
the question is then counted: the share of the question's meaningful words that it answers to, each weighted by how
rare it is among the owner's entries.
"""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from recado.assistants import words
from recado.assistants.words import Word
from recado.db.pool import Row
from recado.db.scope import Scope
from recado.errors import NotFound, UsageError
from recado.ids import new_id
from recado.text import is_blank

PATH = " › "
TITLE_CHARS = 300
CONTENT_CHARS = 20_000
QUESTION_CHARS = 2_000

#: How many entries are looked at closely: those that could score best.
LIKELIEST = 40

#: What a word of the question is worth when the entry has it: as itself or as a word that asks for the same thing.
IN_TITLE, IN_CONTENT = 1.0, 0.8
NEAR_TITLE, NEAR_CONTENT = 0.78, 0.45

#: What a vague word weighs, beside one that means something by itself.
VAGUE_WEIGHT = 0.25

_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An entry that answers to a question, and how well: 0 not at all, 1 to every word of it."""

    id: UUID
    title: str
    content: str
    score: float


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
    if "\0" in text or sum(unicodedata.category(character) == "Cc" for character in text) > len(text) // 2:
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
            path = [*(outer for outer in path if outer[0] < depth), (depth, (heading[2] or "").strip())]
            continue
        body.append(line)
    close()
    return entries


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
            if first and tuple(words.fold(field) for field in fields) in _HEADERS:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """How many entries a source has now, and whether any of them is new, gone or another than before."""

    entries: int
    changed: bool


async def replace(scope: Scope, *, source: str, entries: Sequence[Entry], language: str) -> Replaced:
    """Make `entries` all that the owner knows from `source`.

    An entry that was there keeps its id, also when it moved; doing it again changes nothing. The words of many entries
    take long to analyse: that happens in a thread.
    """
    unique = list(dict.fromkeys(entries))
    searches = await asyncio.to_thread(lambda: [_tsvector(entry, language) for entry in unique])
    # Two who replace one source at once would each miss the other's entries.
    await scope.conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"knowledge of {scope.owner_id}: {source}"]
    )
    cursor = await scope.conn.execute(
        "SELECT id, title, content FROM knowledge WHERE owner_id = %s AND source = %s FOR UPDATE",
        [scope.owner_id, source],
    )
    known = {(row["title"], row["content"]): row["id"] for row in await cursor.fetchall()}
    ids = [known.get((entry.title, entry.content)) or new_id() for entry in unique]
    gone = await scope.conn.execute(
        "DELETE FROM knowledge WHERE owner_id = %s AND source = %s AND id <> ALL(%s)", [scope.owner_id, source, ids]
    )
    written = await scope.conn.execute(
        """
        INSERT INTO knowledge AS k (owner_id, id, source, ordinal, title, content, language, search)
        SELECT %(owner)s, id, %(source)s, ordinal, title, content, %(language)s, search::tsvector
        FROM unnest(%(ids)s::uuid[], %(titles)s::text[], %(contents)s::text[], %(searches)s::text[])
             WITH ORDINALITY AS given (id, title, content, search, ordinal)
        ON CONFLICT (owner_id, id) DO UPDATE
        SET ordinal = excluded.ordinal, language = excluded.language, search = excluded.search
        WHERE (k.ordinal, k.language, k.search) IS DISTINCT FROM
              (excluded.ordinal, excluded.language, excluded.search)
        """,
        {
            "owner": scope.owner_id,
            "source": source,
            "language": language,
            "ids": ids,
            "titles": [entry.title for entry in unique],
            "contents": [entry.content for entry in unique],
            "searches": searches,
        },
    )
    return Replaced(entries=len(unique), changed=gone.rowcount + written.rowcount > 0)


async def forget(scope: Scope, source: str) -> int:
    """Know nothing from `source` any more; answers how many entries that were."""
    gone = await scope.conn.execute(
        "DELETE FROM knowledge WHERE owner_id = %s AND source = %s", [scope.owner_id, source]
    )
    return gone.rowcount


def language_of(entries: Sequence[Entry]) -> str | None:
    """The language that the entries are in, told from the first of them; None when that can't be told."""
    return words.detect("\n".join(f"{entry.title}\n{entry.content}" for entry in entries[:50]))


async def search(scope: Scope, question: str, *, language: str, limit: int = 5) -> list[Match]:
    """The entries that answer best to the question, best first; none when it holds no word with a meaning."""
    asked = words.asked(question[:QUESTION_CHARS], language)
    if not asked:
        return []
    candidates, total = await _candidates(scope, asked)
    met = frozenset(lexeme for candidate in candidates for lexeme in candidate["hits"])
    corrected = await _corrected(scope, asked, met)
    if corrected != asked:
        asked = corrected
        candidates, total = await _candidates(scope, asked)
    weights = weigh(asked, [frozenset(row["hits"]) for row in candidates], total=total)
    likely = sorted(candidates, key=lambda row: (-_at_most(asked, weights, frozenset(row["hits"])), row["id"]))
    scores = {row["id"]: cover(asked, weights, _found(row)) for row in likely[: max(LIKELIEST, limit)]}
    best = sorted(scores, key=lambda entry_id: (-scores[entry_id], entry_id))[:limit]
    cursor = await scope.conn.execute(
        "SELECT id, title, content FROM knowledge WHERE owner_id = %s AND id = ANY(%s)", [scope.owner_id, best]
    )
    rows = {row["id"]: row for row in await cursor.fetchall()}
    return [
        Match(id=entry_id, title=rows[entry_id]["title"], content=rows[entry_id]["content"], score=scores[entry_id])
        for entry_id in best
        if entry_id in rows and scores[entry_id] > 0
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An entry as it is shown; `source` names the file it came from."""

    id: UUID
    source: str
    title: str
    content: str
    language: str
    created_at: datetime


async def page(scope: Scope, *, after: UUID | None, limit: int) -> list[Listed]:
    """The owner's entries after that id, oldest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        """
        SELECT id, source, title, content, language, created_at FROM knowledge
        WHERE owner_id = %s AND id > %s ORDER BY id LIMIT %s
        """,
        [scope.owner_id, after or UUID(int=0), limit + 1],
    )
    return [Listed(**row) for row in await cursor.fetchall()]


async def look(scope: Scope, entry_id: UUID) -> Listed:
    """The entry as it is shown. Raises NotFound."""
    cursor = await scope.conn.execute(
        "SELECT id, source, title, content, language, created_at FROM knowledge WHERE owner_id = %s AND id = %s",
        [scope.owner_id, entry_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no knowledge entry {entry_id}")
    return Listed(**row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What of the question an entry has: lexemes of the question in it, and the words of its title.

    `heading` is the title's last part, which says what this entry is about and its siblings are not.
    """

    hits: frozenset[str]
    title: frozenset[str]
    heading: tuple[frozenset[str], ...]


def weigh(asked: Sequence[Word], entries: Sequence[frozenset[str]], *, total: int) -> list[float]:
    """What each word of the question weighs, given the lexemes of it in each entry and `total` entries of the owner.

    It falls with the share of entries that have the word; one that none has weighs as much as the rarest.
    """
    weights = []
    for word in asked:
        having = sum(bool(hits & word.exact) for hits in entries)
        weights.append(math.log1p(total / (max(having, 1) + 0.5)) * (VAGUE_WEIGHT if word.vague else 1.0))
    return weights


def cover(asked: Sequence[Word], weights: Sequence[float], entry: Found) -> float:
    """How well an entry covers the question: the weight of the words it has in the weight of all, 0 to 1.

    Of two entries that cover it alike, the one whose heading says less else is ahead. Vague words alone are no
    evidence: the entry that has nothing more than one of them gets 0.
    """
    gained = 0.0
    evidence = 0.0
    for word, weight in zip(asked, weights, strict=True):
        if word.exact & entry.title:
            credit = IN_TITLE
        elif word.near & entry.title:
            credit = NEAR_TITLE
        elif word.exact & entry.hits:
            credit = IN_CONTENT
        elif word.near & entry.hits:
            credit = NEAR_CONTENT
        else:
            continue
        gained += weight * credit
        evidence += 0.5 if word.vague else 1.0
    if evidence < 1.0:
        return 0.0
    lexemes = frozenset(lexeme for word in asked for lexeme in word.exact | word.near)
    said = sum(bool(word & lexemes) for word in entry.heading) / len(entry.heading) if entry.heading else 0.0
    return gained / sum(weights) * (0.8 + 0.2 * said)


def _at_most(asked: Sequence[Word], weights: Sequence[float], hits: frozenset[str]) -> float:
    """What `cover` could come to at most, told without looking at the entry's title."""
    return sum(
        weight * (IN_TITLE if word.exact & hits else NEAR_TITLE if word.near & hits else 0.0)
        for word, weight in zip(asked, weights, strict=True)
    )


async def _candidates(scope: Scope, asked: Sequence[Word]) -> tuple[list[Row], int]:
    lexemes = sorted({lexeme for word in asked for lexeme in word.exact | word.near})
    cursor = await scope.conn.execute(
        """
        SELECT id, title, language,
               ARRAY(SELECT unnest(tsvector_to_array(search)) INTERSECT SELECT unnest(%(lexemes)s::text[])) AS hits,
               (SELECT count(*) FROM knowledge WHERE owner_id = %(owner)s) AS total
        FROM knowledge
        WHERE owner_id = %(owner)s AND search @@ %(query)s::tsquery
        """,
        {
            "owner": scope.owner_id,
            "lexemes": lexemes,
            "query": " | ".join(f"'{lexeme}'" for lexeme in lexemes),
        },
    )
    rows = await cursor.fetchall()
    return rows, rows[0]["total"] if rows else 0


async def _corrected(scope: Scope, asked: tuple[Word, ...], met: frozenset[str]) -> tuple[Word, ...]:
    """The question with words that no entry has read as the one word of the entries that they are a slip away from."""
    unknown = [word for word in asked if not (word.exact | word.near) & met and len(word.text) >= 5]
    if not unknown:
        return asked
    cursor = await scope.conn.execute(
        """
        SELECT DISTINCT lexeme
        FROM knowledge, unnest(tsvector_to_array(search)) AS lexeme
        WHERE owner_id = %s AND left(lexeme, 1) = ANY(%s) AND length(lexeme) BETWEEN %s AND %s
        """,
        [
            scope.owner_id,
            [word.text[0] for word in unknown],
            max(5, min(len(word.text) for word in unknown) - 1),
            max(len(word.text) for word in unknown) + 1,
        ],
    )
    vocabulary = [row["lexeme"] for row in await cursor.fetchall()]
    return tuple(_read_as(word, vocabulary) if word in unknown else word for word in asked)


def _read_as(word: Word, vocabulary: Iterable[str]) -> Word:
    meant = frozenset(lexeme for lexeme in vocabulary if lexeme[0] == word.text[0] and words.almost(word.text, lexeme))
    return dataclasses.replace(word, exact=word.exact | meant) if meant else word


def _found(row: Row) -> Found:
    title, language = row["title"], row["language"]
    heading = tuple(word.exact for word in words.asked(title.rpartition(PATH)[2], language))
    return Found(hits=frozenset(row["hits"]), title=words.indexed(title, language), heading=heading)


def _tsvector(entry: Entry, language: str) -> str:
    """The text form of the entry's tsvector; lexemes are letters and digits only, so quoting them is safe."""
    title = words.indexed(entry.title, language)
    content = words.indexed(entry.content, language) - title
    return " ".join(
        [*(f"'{lexeme}':1A" for lexeme in sorted(title)), *(f"'{lexeme}':1B" for lexeme in sorted(content))]
    )


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
