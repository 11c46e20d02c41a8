"""One contact floods; how much later are the others answered?"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any

from bench import load, pairs, stack
from bench.turns import cpu_s, introduce, postmaster, start
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
    return {f"{name}_share": round((after[name] - before[name]) / seconds, 3) for name in before if name != "at"}


def measure(*, rate: int = 500, count: int = 70, gap_s: float = 0.1, times: int = 3) -> dict[str, Any]:
    """The others' latencies without and with the flood, in turn, under the limits of the default settings."""
    first = iter(range(1_000_000, 90_000_000, 1_000_000))
    with stack.home() as home, ExitStack() as running:
        stack.run(stack.set_up(home))
        started = start(running, home, delay_s=None)
        base = started["api_url"]
        stack.run(introduce(started))
        stack.run(others(started, count=30, first=500_000, gap_s=gap_s))

        def alone() -> dict[str, float]:
            before = _cpu(started)
            found = row(stack.run(others(started, count=count, first=next(first), gap_s=gap_s)))
            return {**found, "unanswered": count - found["answered"], **_shares(before, _cpu(started))}

        attacker = running.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))

        def beside() -> dict[str, float]:
            # It goes on for longer than the others write, and begins before them.
            requests = [load.webhook(base, contact=FLOODER) for _ in range(int(rate * (count * gap_s + 4)))]
            flooding = attacker.submit(_flood, base, requests, rate)
            time.sleep(2.0)
            found = alone()
            flood = flooding.result()
            return {**found, "flood_rate": flood["rate"], "flood_rate_to_asked": round(flood["rate"] / rate, 3)}

        found = pairs.in_turn(alone, beside, times=times)
    return {**found, "load_average": os.getloadavg()[0]}
