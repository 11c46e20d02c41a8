"""Searching what an owner knows: among ten thousand entries beside among a hundred, taken in turn."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Any

from bench import pairs, stack

SMALL, LARGE = 100, 10_000
QUESTIONS = {
    "frequent words": "qual o preço do artigo azul da loja?",
    "a rare word": "tem o artigo q{n} na loja?",
    "slips": "qual o preçoo do artgio azull da ljoa nesse mmeento?",
}


def _entries(how_many: int) -> list[Any]:
    from recado.assistants.knowledge import Entry

    colours = ("azul", "verde", "vermelho", "preto")
    return [
        Entry(
            title=f"Artigo q{n} {colours[n % 4]}", content=f"O preço do artigo q{n} na loja é R$ {n % 90}, modelo m{n}."
        )
        for n in range(how_many)
    ]


async def _blocked(work: Any) -> tuple[float, float]:
    """How long the work took, and for how much of this thread's CPU at most nobody else had a turn meanwhile, in ms."""
    most = 0.0

    async def others() -> None:
        nonlocal most
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            most, before = max(most, now - before), now

    other = asyncio.create_task(others())
    await asyncio.sleep(0)
    began = time.perf_counter()
    await work
    took = time.perf_counter() - began
    other.cancel()
    return took * 1000, most * 1000


async def _measure(home: Any, times: int) -> dict[str, Any]:
    from recado.assistants import knowledge
    from recado.db.scope import scoped
    from recado.identity import owners
    from recado.settings import Settings
    from recado.wiring import wire

    async with wire(Settings(home=home, database_url=None, secret_keys=None, _env_file=None)) as wiring:
        ids = {}
        for name, entries_of in (("small", SMALL), ("large", LARGE)):
            async with await wiring.connect("recado_platform") as conn:
                ids[name] = (await owners.add(conn, name)).id
            entries = _entries(entries_of)
            analysed = await knowledge.analyse(entries, "pt")
            async with scoped(wiring.pool, ids[name]) as scope:
                await knowledge.replace(scope, source="a.csv", entries=entries, language="pt", analysed=analysed)
        number = count(0)

        async def searched(name: str) -> dict[str, float]:
            """A search of each kind, in milliseconds, and the longest that one kept the event loop."""
            n = next(number) // 2 % SMALL
            found = {"blocked_ms": 0.0}
            for kind, question in QUESTIONS.items():
                async with scoped(wiring.pool, ids[name]) as scope:
                    search = knowledge.search(scope, question.format(n=n), language="pt")
                    found[kind], most = await _blocked(search)
                found["blocked_ms"] = max(found["blocked_ms"], most)
            return found

        return await pairs.in_turn_async(lambda: searched("small"), lambda: searched("large"), times=times)


def measure(*, times: int = 40) -> dict[str, Any]:
    """Pairs of a search among a hundred entries and one among ten thousand."""
    with stack.home() as home:
        figures: dict[str, Any] = stack.run(_measure(home, times))
    return figures
