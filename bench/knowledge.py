"""Searching what an owner knows: among ten thousand entries beside among a hundred, taken in turn."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from bench import stack

SMALL, LARGE = 100, 10_000
QUESTIONS = {
    "frequent words": "qual o preço do artigo azul da loja?",
    "a rare word": "tem o artigo q{n} na loja?",
    "slips": "qual o preçoo do artgio azull da ljoa nesse mmeento?",
}


def _entries(count: int) -> list[Any]:
    from recado.assistants.knowledge import Entry

    colours = ("azul", "verde", "vermelho", "preto")
    return [
        Entry(
            title=f"Artigo q{n} {colours[n % 4]}", content=f"O preço do artigo q{n} na loja é R$ {n % 90}, modelo m{n}."
        )
        for n in range(count)
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


async def _measure(home: Any, rounds: int) -> dict[str, Any]:
    from recado.assistants import knowledge
    from recado.db.scope import scoped
    from recado.identity import owners
    from recado.settings import Settings
    from recado.wiring import wire

    async with wire(Settings(home=home, database_url=None, secret_keys=None, _env_file=None)) as wiring:
        ids = {}
        for name, count in (("small", SMALL), ("large", LARGE)):
            async with await wiring.connect("recado_platform") as conn:
                ids[name] = (await owners.add(conn, name)).id
            entries = _entries(count)
            analysed = await knowledge.analyse(entries, "pt")
            async with scoped(wiring.pool, ids[name]) as scope:
                await knowledge.replace(scope, source="a.csv", entries=entries, language="pt", analysed=analysed)
        took: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in QUESTIONS} for name in ids}
        blocked: dict[str, list[float]] = {name: [] for name in ids}
        for round_number in range(rounds):
            for kind, question in QUESTIONS.items():
                for name, owner in ids.items():
                    async with scoped(wiring.pool, owner) as scope:
                        asked = question.format(n=round_number % SMALL)
                        ms, most = await _blocked(knowledge.search(scope, asked, language="pt"))
                    took[name][kind].append(ms)
                    blocked[name].append(most)
    figures: dict[str, Any] = {
        name: {
            **{kind: round(statistics.median(times), 2) for kind, times in took[name].items()},
            "blocked_ms": round(statistics.median(blocked[name]), 2),
        }
        for name in ids
    }
    figures["cost_ratio"] = {kind: round(figures["large"][kind] / figures["small"][kind], 2) for kind in QUESTIONS}
    return figures


def measure(*, rounds: int = 40) -> dict[str, Any]:
    """Milliseconds of a search, the longest that it kept the event loop, and the ratio of the two owners."""
    with stack.home() as home:
        figures: dict[str, Any] = stack.run(_measure(home, rounds))
    return figures
