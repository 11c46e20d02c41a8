"""One contact floods; how much later are the others answered?"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any

from bench import load, stack
from bench.turns import cpu_s, postmaster, start
from recado.simulator.client import SimulatorClient

FLOODER = 99_000_000


def _flood(base: str, requests: list[bytes], rate: int) -> dict[str, float | int]:
    """So many messages a second from one contact; in a process of its own, which delays no measurement."""
    return asyncio.run(load.post_all(base, requests, connections=100, rate=rate)).row()


async def others(started: dict[str, Any], *, count: int, first: int, gap_s: float) -> dict[str, list[float]]:
    """Messages of people who each write once, one after the other: time to the 200, and to the reply's POST."""
    base = started["api_url"]
    sent: dict[str, float] = {}
    acks: list[float] = []

    async def write(index: int) -> None:
        contact = f"whatsapp:+55119{first + index:08d}"
        request = load.webhook(base, contact=first + index)
        sent[contact] = time.time()
        acks.append((await load.post_all(base, [request], connections=1)).p50_ms)

    async with SimulatorClient(started["simulator_url"]) as client:
        tasks = []
        for index in range(count):
            tasks.append(asyncio.create_task(write(index)))
            await asyncio.sleep(gap_s)
        await asyncio.gather(*tasks)
        deadline = time.monotonic() + 60
        while True:
            calls = [c for c in await client.calls() if c.operation == "create" and c.form["To"] in sent]
            if len(calls) >= count or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
    return {"ack": acks, "answer": [(call.at - sent[call.form["To"]]) * 1000 for call in calls]}


def row(latencies: dict[str, list[float]]) -> dict[str, float]:
    return {"answered": len(latencies["answer"])} | {
        f"{name}_{label}_ms": round(load.percentile(values, share), 1)
        for name, values in latencies.items()
        for label, share in (("p50", 0.5), ("p95", 0.95))
    }


def _cpu(started: dict[str, Any]) -> dict[str, float]:
    """CPU seconds until now; what the machine had left for us tells how much the figures are worth."""
    spent = {name: cpu_s(started[name].pid) for name in ("api", "worker")}
    return spent | {"postgres": cpu_s(postmaster(started["home"])), "at": time.monotonic()}


def _shares(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    seconds = after["at"] - before["at"]
    return {name: round((after[name] - before[name]) / seconds, 3) for name in before if name != "at"}


def measure(*, rate: int = 500, count: int = 200, gap_s: float = 0.1) -> dict[str, Any]:
    """The others' latencies without and with the flood, in one run, under the limits of the default settings."""
    with stack.home() as home, ExitStack() as running:
        stack.run(stack.set_up(home))
        started = start(running, home, delay_s=None)
        base = started["api_url"]

        async def introduce() -> None:
            async with SimulatorClient(started["simulator_url"]) as client:
                await client.add_account(load.ACCOUNT_SID, load.TOKEN)
                await client.add_number(load.ACCOUNT_SID, load.NUMBER, base + load.PATH)

        stack.run(introduce())
        stack.run(others(started, count=30, first=500_000, gap_s=gap_s))
        before = _cpu(started)
        alone = stack.run(others(started, count=count, first=1_000_000, gap_s=gap_s))
        between = _cpu(started)
        requests = [load.webhook(base, contact=FLOODER) for _ in range(int(rate * count * gap_s))]
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as attacker:
            flooding = attacker.submit(_flood, base, requests, rate)
            time.sleep(2.0)
            in_flood = _cpu(started)
            beside = stack.run(others(started, count=int(count * 0.8), first=2_000_000, gap_s=gap_s))
            at_end = _cpu(started)
            flood = flooding.result()
    quiet, flooded = row(alone), row(beside)
    return {
        "alone": quiet,
        "beside_the_flood": flooded,
        "flood": flood,
        "share_of_a_core": {"alone": _shares(before, between), "beside_the_flood": _shares(in_flood, at_end)},
        "load_average": os.getloadavg()[0],
        "answer_p95_growth": round(flooded["answer_p95_ms"] / quiet["answer_p95_ms"] - 1, 3),
    }
