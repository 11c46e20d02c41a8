"""What an owner knows, as it is stored, with the words by which it is found.

Title and content are analysed (`recado.assistants.words`) and kept in a tsvector, title as weight A and content as B;
triggers keep the tables in step that `recado.assistants.knowledge.search` looks into.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from recado.assistants import words
from recado.assistants.knowledge.files import Entry
from recado.db.scope import Scope
from recado.errors import NotFound
from recado.ids import new_id

T = TypeVar("T")

#: How many rows go to the database, or come from it, at once: packing them up takes the interpreter for a while.
BATCH: Final = 500
#: How long words are analysed before others have their turn.
SLICE_S: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """How many entries a source has now, and whether any of them is new, gone or another than before."""

    entries: int
    changed: bool


async def analyse(entries: Iterable[Entry], language: str) -> dict[Entry, str]:
    """The entries, each once, with the text form of their tsvectors; lets others have their turn while it works.

    Many entries take long. A thread would not help: it keeps the interpreter to itself for longer at a time.
    """
    analysed: dict[Entry, str] = {}
    until = time.monotonic() + SLICE_S
    for entry in entries:
        if entry in analysed:
            continue
        title: dict[str, None] = {}
        content: dict[str, None] = {}
        for text, found in ((entry.title, title), (entry.content, content)):
            for token in words.tokens(text):
                found |= dict.fromkeys(words.lexemes(token, language))
                if time.monotonic() > until:
                    await asyncio.sleep(0)
                    until = time.monotonic() + SLICE_S
        # Lexemes are letters and digits only, so quoting them is safe.
        analysed[entry] = " ".join(
            [*(f"'{lexeme}':1A" for lexeme in title), *(f"'{lexeme}':1B" for lexeme in content if lexeme not in title)]
        )
    return analysed


async def replace(
    scope: Scope,
    *,
    source: str,
    entries: Sequence[Entry],
    language: str,
    analysed: Mapping[Entry, str] | None = None,
) -> Replaced:
    """Make `entries` all that the owner knows from `source`.

    An entry that was there keeps its id, also when it moved; doing it again changes nothing. `analysed` is what
    `analyse` made of them before this transaction began; it is made here where it is not given.
    """
    if analysed is None:
        analysed = await analyse(entries, language)
    # Two who replace one source at once would each miss the other's entries.
    await scope.conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"knowledge of {scope.owner_id}: {source}"]
    )
    # Rows of one statement may take each other's places, those of several only at the end.
    await scope.conn.execute("SET CONSTRAINTS knowledge_owner_id_source_ordinal_key DEFERRED")
    known = await _known(scope, source)
    ids = [known.get((entry.title, entry.content)) or new_id() for entry in analysed]
    gone = list(set(known.values()).difference(ids))
    changed = bool(gone)
    for batch in _batches(gone):
        await scope.conn.execute("DELETE FROM knowledge WHERE owner_id = %s AND id = ANY(%s)", [scope.owner_id, batch])
    ordinal = 0
    for rows in _batches(list(zip(ids, analysed.items(), strict=True))):
        written = await scope.conn.execute(
            """
            INSERT INTO knowledge AS k (owner_id, id, source, ordinal, title, content, language, search)
            SELECT %(owner)s, id, %(source)s, %(before)s + ordinal, title, content, %(language)s, search::tsvector
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
                "before": ordinal,
                "ids": [entry_id for entry_id, _ in rows],
                "titles": [entry.title for _, (entry, _) in rows],
                "contents": [entry.content for _, (entry, _) in rows],
                "searches": [search for _, (_, search) in rows],
            },
        )
        ordinal += len(rows)
        changed = changed or written.rowcount > 0
    return Replaced(entries=len(analysed), changed=changed)


async def _known(scope: Scope, source: str) -> dict[tuple[str, str], UUID]:
    """The ids of the source's entries by title and content; fetched in batches, there may be very many."""
    known: dict[tuple[str, str], UUID] = {}
    async with scope.conn.cursor(name="known") as cursor:
        cursor.itersize = BATCH
        await cursor.execute(
            "SELECT id, title, content FROM knowledge WHERE owner_id = %s AND source = %s FOR UPDATE",
            [scope.owner_id, source],
        )
        async for row in cursor:
            known[row["title"], row["content"]] = row["id"]
    return known


def _batches(rows: list[T]) -> Iterator[list[T]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


async def forget(scope: Scope, source: str) -> int:
    """Know nothing from `source` any more; answers how many entries that were."""
    gone = await scope.conn.execute(
        "DELETE FROM knowledge WHERE owner_id = %s AND source = %s", [scope.owner_id, source]
    )
    return gone.rowcount


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


async def listed(scope: Scope, entry_id: UUID) -> Listed:
    """The entry as it is shown. Raises NotFound."""
    cursor = await scope.conn.execute(
        "SELECT id, source, title, content, language, created_at FROM knowledge WHERE owner_id = %s AND id = %s",
        [scope.owner_id, entry_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no knowledge entry {entry_id}")
    return Listed(**row)
