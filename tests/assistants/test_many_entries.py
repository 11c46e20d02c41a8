"""However much an owner knows, a search reads few rows; and what it looks into is in step with what is stored."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recado.assistants import knowledge, words
from recado.assistants.knowledge import Entry
from recado.db.pool import Pool, connect
from recado.db.scope import Scope, scoped
from tests.assistants.conftest import new_owner

ENTRIES = 10_000

#: Every entry has `loja` and `aberta`, one in ten `camiseta`, each one word of its own, all of them in the title.
_LOAD = """
INSERT INTO recado.knowledge (owner_id, id, source, ordinal, title, content, search)
SELECT %(owner)s, gen_random_uuid(), 'catalogue.csv', n, format('Loja %%s aberta: artigo q%%s', n %% 10, n), 'x',
       format('''loj'':1A ''abert'':1A ''artig'':1A ''artigo'':1A ''q%%s'':1A ''grup%%s'':1B %%s', n, n %% 100,
              CASE n %% 10 WHEN 0 THEN '''camiset'':1A ''camiseta'':1A' ELSE '' END)::tsvector
FROM generate_series(1, %(entries)s) n
"""


class Counting:
    """A connection that has PostgreSQL count the rows which each statement reads, as the application's role."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.read = 0
        self.returned = 0

    async def execute(self, query: str, params: Any = None) -> Any:
        # What it reads is told by the plan that is used from the second time on.
        explained = await self._conn.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + query, params)
        plan = (await explained.fetchone())["QUERY PLAN"]
        plan = json.loads(plan) if isinstance(plan, str) else plan
        self.read += _scanned(plan[0]["Plan"])
        cursor = await self._conn.execute(query, params)
        self.returned += cursor.rowcount
        return cursor


def _scanned(node: dict[str, Any]) -> int:
    """The rows that the plan's scans of tables gave or threw away."""
    rows = 0
    if "Relation Name" in node:
        each = (
            node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        )
        rows = int(each * node["Actual Loops"])
    return rows + sum(map(_scanned, node.get("Plans", [])))


@pytest.fixture(scope="module")
def shop(database_url: str) -> UUID:
    """An owner with ten thousand entries."""

    async def load() -> UUID:
        owner = await new_owner(database_url)
        async with await connect(database_url, "recado_platform") as conn:
            await conn.execute(_LOAD, {"owner": owner, "entries": ENTRIES})
        return owner

    return asyncio.run(load())


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("a loja está aberta?", None),
        ("camiseta da loja", None),
        ("tem o artigo q4711 na loja?", "artigo q4711"),
        (" ".join(f"artigo q{n}" for n in range(4_000, 4_100)), "artigo q40"),
        # Words that no entry has, each looked up with all its slips.
        ("cmaiseta artgio " + " ".join(f"desconhecida{n:05}" for n in range(100)), None),
    ],
)
async def test_a_search_among_ten_thousand_entries_reads_few_rows_and_brings_fewer(
    pool: Pool, shop: UUID, question: str, title: str | None
) -> None:
    async with scoped(pool, shop) as scope:
        counting = Counting(scope.conn)
        found = await knowledge.search(Scope(counting, shop), question, language="pt")  # type: ignore[arg-type]
    assert found
    assert title is None or title in found[0].title
    assert counting.read < ENTRIES // 2 + 500
    assert counting.returned < 400


async def test_of_frequent_words_the_entries_that_have_a_rare_one_too_are_best(pool: Pool, shop: UUID) -> None:
    async with scoped(pool, shop) as scope:
        for question in ("loja aberta q9990 camiseta", "camiseta aberta da loja, q9990"):
            assert (await knowledge.search(scope, question, language="pt"))[0].title.endswith("q9990")


async def _stands(scope: Scope) -> tuple[dict[str, int], set[tuple[str, bool, UUID]]]:
    counts = await scope.conn.execute(
        "SELECT lexeme, sum(entries) AS entries FROM knowledge_words GROUP BY 1 HAVING sum(entries) <> 0"
    )
    places = await scope.conn.execute("SELECT lexeme, in_content, entry_id FROM knowledge_places")
    return (
        {row["lexeme"]: row["entries"] for row in await counts.fetchall()},
        {(row["lexeme"], row["in_content"], row["entry_id"]) for row in await places.fetchall()},
    )


async def _should(scope: Scope) -> tuple[dict[str, int], set[tuple[str, bool, UUID]]]:
    cursor = await scope.conn.execute("SELECT id, title, content, language FROM knowledge")
    counts: dict[str, int] = {}
    places = set()
    for row in await cursor.fetchall():
        title = words.indexed(row["title"], row["language"])
        everything = title | words.indexed(row["content"], row["language"])
        for lexeme in ("", *everything):
            counts[lexeme] = counts.get(lexeme, 0) + 1
        places |= {(lexeme, lexeme not in title, row["id"]) for lexeme in everything}
    return counts, places


ENTRY = st.builds(
    Entry, title=st.sampled_from(["loja", "loja aberta", "pão"]), content=st.sampled_from(["aberta hoje", "pão", "x"])
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(ENTRY, max_size=5), st.sampled_from(["pt", "en"]))))
def test_words_and_places_stay_in_step_whatever_is_replaced_moved_or_forgotten(
    database_url: str, changes: list[tuple[str, list[Entry], str]]
) -> None:
    async def change() -> None:
        owner = await new_owner(database_url)
        async with await connect(database_url, "recado_app") as conn, conn.transaction():
            await conn.execute("SELECT set_config('recado.owner_id', %s, true)", [str(owner)])
            scope = Scope(conn, owner)
            for source, entries, language in changes:
                if entries:
                    await knowledge.replace(scope, source=source, entries=entries, language=language)
                else:
                    await knowledge.forget(scope, source)
                assert await _stands(scope) == await _should(scope)

    asyncio.run(change())


async def test_two_who_write_at_once_wait_for_each_other_only_over_the_same_source(
    pool: Pool, database_url: str
) -> None:
    owner = await new_owner(database_url)
    entries = [Entry(title="loja", content="aberta")]
    async with scoped(pool, owner) as first, scoped(pool, owner) as second:
        await knowledge.replace(first, source="a.md", entries=entries, language="pt")
        await knowledge.replace(second, source="b.md", entries=entries, language="pt")
    async with scoped(pool, owner) as scope:
        assert await _stands(scope) == await _should(scope)
        await knowledge.forget(scope, "a.md")
        await knowledge.forget(scope, "b.md")
        assert await _stands(scope) == ({}, set())


async def test_who_waited_for_another_to_write_sees_what_that_one_wrote(database_url: str, pool: Pool) -> None:
    owner, first = await new_owner(database_url), asyncio.Event()
    entries = [Entry(title="Loja aberta", content="Sim.")]
    async with AsyncExitStack() as stack:
        # As many as write side by side, the last of whom the next one has to wait for.
        for number in range(7):
            conn = await stack.enter_async_context(await connect(database_url, "recado_app"))
            await stack.enter_async_context(conn.transaction(force_rollback=True))
            await conn.execute("SELECT set_config('recado.owner_id', %s, true)", [str(owner)])
            await knowledge.replace(Scope(conn, owner), source=f"{number}.csv", entries=entries, language="pt")

        async def write(source: str, *, hold: asyncio.Event | None) -> None:
            async with scoped(pool, owner) as scope:
                await knowledge.replace(scope, source=source, entries=entries, language="pt")
                if hold is not None:
                    first.set()
                    await hold.wait()

        hold = asyncio.Event()
        before = asyncio.create_task(write("a.csv", hold=hold))
        async with asyncio.timeout(30):
            await first.wait()
        after = asyncio.create_task(write("b.csv", hold=None))
        async with scoped(pool, owner) as scope, asyncio.timeout(30):
            while not await _waits(scope):
                await asyncio.sleep(0.01)
        hold.set()
        await asyncio.gather(before, after)
    async with scoped(pool, owner) as scope:
        cursor = await scope.conn.execute("SELECT sum(entries)::int AS n FROM knowledge_words WHERE lexeme = 'abert'")
        assert await cursor.fetchone() == {"n": 2}


async def _waits(scope: Scope) -> bool:
    cursor = await scope.conn.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    return await cursor.fetchone() is not None


async def test_others_have_their_turn_while_many_entries_are_analysed(pool: Pool) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    entries = [Entry(title=f"artigo {n}", content=f"cor{n} tamanho{n} peso{n} preço{n}") for n in range(500)]
    assert len(await knowledge.analyse(entries, "pt")) == 500
    other.cancel()
    assert turns > 5
