"""Finding what answers to a question, by few rows of what an owner may know a great deal of.

How well an entry covers the question is counted: the share of the question's meaningful words that it answers to, each
weighted by how rare it is among the owner's entries. How many entries have a word is counted when they are stored; the
entries that have the rarest words are read first, titles before texts, and no more than `MOST_READ` of all of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from recado.assistants import words
from recado.assistants.knowledge.files import PATH
from recado.assistants.words import Word
from recado.db.scope import Scope

QUESTION_CHARS: Final = 2_000

#: How many places of a word are read at most, and of all words together.
MOST_PLACES: Final = 1_500
MOST_READ: Final = 4_000

#: How many entries are looked at closely: those that could score best. And before, with all words of the question.
LIKELIEST: Final = 40
LIKELY: Final = 150

#: Words in so many places that not all are read are looked for in the likely entries, the rarest so many of them.
MOST_FREQUENT: Final = 24

#: Slips are looked for in so many words, of lengths between these.
MOST_CORRECTED: Final = 5
SHORTEST_SLIP, LONGEST_SLIP = 5, 20

#: How many words of a heading say what an entry is about.
HEADING_WORDS: Final = 12

#: What a word of the question is worth when the entry has it: as itself or as a word that asks for the same thing.
IN_TITLE, IN_CONTENT = 1.0, 0.8
NEAR_TITLE, NEAR_CONTENT = 0.78, 0.45

#: What a vague word weighs, beside one that means something by itself.
VAGUE_WEIGHT = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An entry that answers to a question, and how well: 0 not at all, 1 to every word of it."""

    id: UUID
    title: str
    content: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What of the question an entry has: lexemes of the question in it, and those in its title.

    `heading` is the title's last part, which says what this entry is about and its siblings are not.
    """

    hits: frozenset[str]
    title: frozenset[str]
    heading: tuple[frozenset[str], ...] = ()


class Likely(NamedTuple):
    """An entry that may be the best one."""

    id: UUID
    title: str
    language: str
    found: Found


async def search(scope: Scope, question: str, *, language: str, limit: int = 5) -> list[Match]:
    """The entries that answer best to the question, best first; none when it holds no word with a meaning.

    However much the owner knows, and whatever is asked, it takes a few milliseconds, most of them the database's.
    """
    asked = words.asked(question[:QUESTION_CHARS], language)
    if not asked:
        return []
    counts = await _counts(scope, {"", *(lexeme for word in asked for lexeme in word.exact | word.near)})
    total = counts.pop("", 0)
    if not total:
        return []
    asked, more = await _corrected(scope, asked, counts)
    counts |= more
    weights = weigh(asked, counts, total=total)
    scores: dict[UUID, float] = {}
    for entry in await _likely(scope, asked, weights, counts):
        # The heading adds a fifth at most: where the best are beyond that, it is not looked at.
        least = sorted(scores.values(), reverse=True)[:limit][-1] if len(scores) >= limit else 0.0
        if cover(asked, weights, entry.found, said=1.0) > least:
            scores[entry.id] = cover(asked, weights, entry.found, said=_said(asked, entry))
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


def weigh(asked: Sequence[Word], counts: Mapping[str, int], *, total: int) -> list[float]:
    """What each word of the question weighs, given how many of `total` entries have each lexeme.

    It falls with the share of entries that have the word; one that none has weighs as much as the rarest.
    """
    weights = []
    for word in asked:
        having = max((counts.get(lexeme, 0) for lexeme in word.exact), default=0)
        weights.append(math.log1p(total / (max(having, 1) + 0.5)) * (VAGUE_WEIGHT if word.vague else 1.0))
    return weights


def cover(asked: Sequence[Word], weights: Sequence[float], entry: Found, *, said: float) -> float:
    """How well an entry covers the question: the weight of the words it has in the weight of all, 0 to 1.

    `said` is the share of its heading's words that the question has: of two entries that cover it alike, the one whose
    heading says less else is ahead. Vague words alone are no evidence: the entry that has nothing more than one of
    them gets 0.
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
    return gained / sum(weights) * (0.8 + 0.2 * said)


def _said(asked: Sequence[Word], entry: Likely) -> float:
    heading = words.asked(entry.title.rpartition(PATH)[2], entry.language)[:HEADING_WORDS]
    lexemes = frozenset(lexeme for word in asked for lexeme in word.exact | word.near)
    return sum(bool(word.exact & lexemes) for word in heading) / len(heading) if heading else 0.0


async def _counts(scope: Scope, lexemes: set[str]) -> dict[str, int]:
    """How many entries have each of these lexemes, those that one has; the empty one stands for all entries."""
    cursor = await scope.conn.execute(
        "SELECT lexeme, sum(entries)::int AS entries FROM knowledge_words "
        "WHERE owner_id = %s AND lexeme = ANY(%s) GROUP BY lexeme",
        [scope.owner_id, list(lexemes)],
    )
    return {row["lexeme"]: row["entries"] for row in await cursor.fetchall()}


async def _corrected(
    scope: Scope, asked: tuple[Word, ...], counts: Mapping[str, int]
) -> tuple[tuple[Word, ...], dict[str, int]]:
    """The question with words that no entry has read as those of the entries that they are a slip away from.

    Each slip is looked up, as many as the word has room for: how many words the entries have makes no difference.
    """
    unknown = [
        word
        for word in asked
        if SHORTEST_SLIP <= len(word.text) <= LONGEST_SLIP and counts.keys().isdisjoint(word.exact | word.near)
    ][:MOST_CORRECTED]
    if not unknown:
        return asked, {}
    slips = {word.text: {slip for slip in words.slips(word.text) if len(slip) >= SHORTEST_SLIP} for word in unknown}
    meant = await _counts(scope, set().union(*slips.values()))
    read = {word: meant.keys() & slips[word.text] for word in unknown}
    return tuple(
        dataclasses.replace(word, exact=word.exact | read[word]) if word in read else word for word in asked
    ), meant


async def _likely(
    scope: Scope, asked: Sequence[Word], weights: Sequence[float], counts: Mapping[str, int]
) -> list[Likely]:
    """The entries that cover the question best, as far as that is told without their headings, best first."""
    worth = [
        _Worth(number, lexeme, weight * in_title, weight * in_content, counts[lexeme])
        for number, (word, weight) in enumerate(zip(asked, weights, strict=True))
        for lexemes, in_title, in_content in ((word.exact, IN_TITLE, IN_CONTENT), (word.near, NEAR_TITLE, NEAR_CONTENT))
        for lexeme in lexemes
        if lexeme in counts
    ]
    read = dict(_rows_of(worth))
    frequent = sorted({(one.entries, one.lexeme) for one in worth if one.entries > read.get(one.lexeme, 0)})
    cursor = await scope.conn.execute(
        _LIKELY,
        {
            "owner": scope.owner_id,
            "words": [one.word for one in worth],
            "lexemes": [one.lexeme for one in worth],
            "titles": [one.in_title for one in worth],
            "contents": [one.in_content for one in worth],
            "read": list(read),
            "rows": list(read.values()),
            "frequent": [lexeme for _, lexeme in frequent[:MOST_FREQUENT]],
            "likely": LIKELY,
            "likeliest": LIKELIEST,
        },
    )
    return [
        Likely(
            row["id"],
            row["title"],
            row["language"],
            Found(hits=frozenset(row["hits"]), title=frozenset(row["title_hits"])),
        )
        for row in await cursor.fetchall()
    ]


class _Worth(NamedTuple):
    word: int
    lexeme: str
    in_title: float
    in_content: float
    entries: int


def _rows_of(worth: Sequence[_Worth]) -> Iterator[tuple[str, int]]:
    """How many places of each lexeme are read, the rarest first; none of those that there is no room for."""
    left = MOST_READ
    for entries, lexeme in sorted({(one.entries, one.lexeme) for one in worth}):
        if left <= 0:
            return
        rows = min(entries, MOST_PLACES, left)
        yield lexeme, rows
        left -= rows


# Two passes: by the places of rare words, then the likely ones with the places of frequent words too. What stands in a
# LATERAL with a LIMIT is looked up one by one, whatever the planner thinks that it knows of the tables.
_LIKELY: Final = """
WITH worth AS (
    SELECT * FROM unnest(%(words)s::int[], %(lexemes)s::text[], %(titles)s::float8[], %(contents)s::float8[])
         AS w (word, lexeme, in_title, in_content)
), places AS MATERIALIZED (
    SELECT r.lexeme, p.entry_id, p.in_content
    FROM unnest(%(read)s::text[], %(rows)s::int[]) AS r (lexeme, rows)
    CROSS JOIN LATERAL (
        SELECT entry_id, in_content FROM knowledge_places
        WHERE owner_id = %(owner)s AND lexeme = r.lexeme ORDER BY in_content, entry_id LIMIT r.rows
    ) p
), likely AS MATERIALIZED (
    SELECT entry_id FROM (
        SELECT p.entry_id, w.word, max(CASE WHEN p.in_content THEN w.in_content ELSE w.in_title END) AS gain
        FROM places p JOIN worth w USING (lexeme) GROUP BY p.entry_id, w.word
    ) gains GROUP BY entry_id ORDER BY sum(gain) DESC, entry_id LIMIT %(likely)s
), seen AS (
    SELECT lexeme, entry_id, in_content FROM places WHERE entry_id IN (SELECT entry_id FROM likely)
    UNION
    SELECT f.lexeme, l.entry_id, p.in_content
    FROM likely l CROSS JOIN unnest(%(frequent)s::text[]) AS f (lexeme)
    CROSS JOIN LATERAL (
        SELECT in_content FROM knowledge_places
        WHERE owner_id = %(owner)s AND lexeme = f.lexeme AND in_content = ANY('{f,t}') AND entry_id = l.entry_id LIMIT 1
    ) p
), gains AS (
    SELECT s.entry_id, w.word, max(CASE WHEN s.in_content THEN w.in_content ELSE w.in_title END) AS gain
    FROM seen s JOIN worth w USING (lexeme) GROUP BY s.entry_id, w.word
), likeliest AS (
    SELECT entry_id, sum(gain) AS gain FROM gains GROUP BY entry_id ORDER BY gain DESC, entry_id LIMIT %(likeliest)s
)
SELECT k.id, k.title, k.language, hits.hits, hits.title_hits
FROM likeliest l
CROSS JOIN LATERAL (
    SELECT id, title, language FROM knowledge WHERE owner_id = %(owner)s AND id = l.entry_id LIMIT 1
) k
CROSS JOIN LATERAL (
    SELECT array_agg(s.lexeme) AS hits,
           coalesce(array_agg(s.lexeme) FILTER (WHERE NOT s.in_content), '{}') AS title_hits
    FROM seen s WHERE s.entry_id = l.entry_id
) hits
ORDER BY l.gain DESC, k.id
"""
