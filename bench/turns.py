"""Turns a second in one worker, with a model that answers at once and with one that takes two seconds."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench import load, stack
from recado.simulator.client import SimulatorClient


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children."""
    total = 0.0
    process = psutil.Process(pid)
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


def start(running: ExitStack, home: Path, *, delay_s: float | None, **settings: Any) -> dict[str, Any]:
    """Simulator, API and one worker, and the scripted model unless `delay_s` is None."""
    simulator, api = stack.free_port(), stack.free_port()
    simulator_url, api_url = f"http://127.0.0.1:{simulator}", f"http://127.0.0.1:{api}"
    values = {"public_url": api_url, "twilio_api_url": simulator_url, **settings}
    env = stack.environment(home, **values)
    started: dict[str, Any] = {"api_url": api_url, "simulator_url": simulator_url, "home": home}
    if delay_s is not None:
        model = stack.free_port()
        running.enter_context(
            stack.process("tests/model_server.py", "--port", str(model), "--delay-s", str(delay_s), env=env, wait_s=1.0)
        )
        env |= {"RECADO_MODEL": "openai:scripted", "OPENAI_BASE_URL": f"http://127.0.0.1:{model}/v1"}
    started["simulator"] = running.enter_context(
        stack.process("-m", "bench.twilio", str(simulator), env=env, up=f"{simulator_url}/sim/health")
    )
    started["api"] = running.enter_context(
        stack.process("-m", "recado", "api", "--port", str(api), env=env, up=f"{api_url}/healthz")
    )
    started["worker"] = running.enter_context(stack.process("-m", "recado", "worker", env=env, up=f"{api_url}/readyz"))
    return started


async def turns(started: dict[str, Any], *, count: int, first_contact: int, timeout_s: float = 180) -> dict[str, Any]:
    """Answer one message of each of `count` contacts, who all write at once."""
    base = started["api_url"]
    requests = [load.webhook(base, contact=first_contact + index) for index in range(count)]
    async with SimulatorClient(started["simulator_url"]) as client:
        await client.add_account(load.ACCOUNT_SID, load.TOKEN)
        await client.add_number(load.ACCOUNT_SID, load.NUMBER, base + load.PATH)
        before = {name: cpu_s(started[name].pid) for name in ("worker", "api", "simulator")}
        before["postgres"] = cpu_s(postmaster(started["home"]))
        sent_before = len([call for call in await client.calls() if call.operation == "create"])
        began = time.time()
        accepted = await load.post_all(base, requests, connections=16)
        deadline = time.monotonic() + timeout_s
        while True:
            created = [call for call in await client.calls() if call.operation == "create"][sent_before:]
            if len(created) >= count or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.3)
        times = sorted(call.at for call in created)
        seconds = {name: cpu_s(started[name].pid) - before[name] for name in ("worker", "api", "simulator")}
        seconds["postgres"] = cpu_s(postmaster(started["home"])) - before["postgres"]
    return {
        "turns": len(created),
        "lost": count - len(created),
        "accept_failed": accepted.failed,
        "rate": round((len(times) - 1) / (times[-1] - times[0]), 1),
        "seconds": round(times[-1] - began, 2),
        "cpu_ms_per_turn": {name: round(value / count * 1000, 1) for name, value in seconds.items()},
    }


def measure(*, count: int = 400) -> dict[str, Any]:
    """Both models."""
    figures: dict[str, Any] = {}
    for name, delay_s in (("instant", 0.0), ("two_seconds", 2.0)):
        with stack.home() as home, ExitStack() as running:
            stack.run(stack.set_up(home))
            started = start(running, home, delay_s=delay_s)
            stack.run(turns(started, count=20, first_contact=90_000))
            figures[name] = stack.run(turns(started, count=count, first_contact=0))
    return figures


if __name__ == "__main__":
    print(measure(count=int(os.environ.get("COUNT", "400"))), file=sys.stdout)
