"""Turns a second in one worker beside a floor, with a model that answers at once and one that takes two seconds."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench import floor, load, pairs, stack
from recado.simulator.client import SimulatorClient
from recado.simulator.views import RestCall


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children."""
    total = 0.0
    process = psutil.Process(pid)
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        # What has ended meanwhile counts with who waited for it.
        total += times.user + times.system + times.children_user + times.children_system
    return total


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


def start(
    running: ExitStack, home: Path, *, delay_s: float | None, apart: bool = False, **settings: Any
) -> dict[str, Any]:
    """Simulator, API and one worker, and the scripted model unless `delay_s` is None.

    With `apart` turns and deliveries have a worker each, so that what each costs is told apart.
    """
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
        started["model_url"] = f"http://127.0.0.1:{model}/v1"
        env |= {"RECADO_MODEL": "openai:scripted", "OPENAI_BASE_URL": started["model_url"]}
    started["simulator"] = running.enter_context(
        stack.process("-m", "bench.twilio", str(simulator), env=env, up=f"{simulator_url}/sim/health")
    )
    started["api"] = running.enter_context(
        stack.process("-m", "recado", "api", "--port", str(api), env=env, up=f"{api_url}/healthz")
    )
    queues = (
        {"turns": ["--queues", "turns,media"], "deliveries": ["--queues", "deliveries"]} if apart else {"worker": []}
    )
    for name, chosen in queues.items():
        up = f"{api_url}/readyz" if name == list(queues)[-1] else None  # ready is what has all queues served
        started[name] = running.enter_context(stack.process("-m", "recado", "worker", *chosen, env=env, up=up))
    started["workers"] = list(queues)
    return started


async def introduce(started: dict[str, Any]) -> None:
    """Make account and number known to the simulator."""
    async with SimulatorClient(started["simulator_url"]) as client:
        await client.add_account(load.ACCOUNT_SID, load.TOKEN)
        await client.add_number(load.ACCOUNT_SID, load.NUMBER, started["api_url"] + load.PATH)


async def _last_seq(client: SimulatorClient) -> int:
    return max((call.seq for call in await client.calls()), default=0)


async def _created(client: SimulatorClient, after: int) -> list[RestCall]:
    return [call for call in await client.calls(after=after) if call.operation == "create"]


def rate(calls: Sequence[RestCall]) -> float:
    """POSTs a second from the first to the last; nothing where there are not two."""
    times = sorted(call.at for call in calls)
    return round((len(times) - 1) / (times[-1] - times[0]), 1) if len(times) > 1 else 0.0


async def turns(started: dict[str, Any], *, count: int, first_contact: int, timeout_s: float = 60) -> dict[str, float]:
    """Answer one message of each of `count` contacts, who all write at once."""
    base = started["api_url"]
    requests = [load.webhook(base, contact=first_contact + index) for index in range(count)]
    pids = {name: started[name].pid for name in (*started["workers"], "api", "simulator")}
    pids["postgres"] = postmaster(started["home"])
    async with SimulatorClient(started["simulator_url"]) as client:
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        after = await _last_seq(client)
        began = time.time()
        accepted = await load.post_all(base, requests, connections=16)
        deadline = time.monotonic() + timeout_s
        while len(created := await _created(client, after)) < count and time.monotonic() < deadline:
            await asyncio.sleep(0.3)
        spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
        spent["worker"] = sum(spent[name] for name in started["workers"])
    return {
        "rate": rate(created),
        "lost": count - len(created),
        "accept_failed": accepted.failed,
        "seconds": round(max((call.at for call in created), default=began) - began, 2),
        # Of what the floor has too.
        "cpu_ms": round((spent["worker"] + spent["postgres"]) / count * 1000, 1),
        **{f"{name}_ms": round(value / count * 1000, 1) for name, value in spent.items()},
    }


async def _floor(
    started: dict[str, Any], home: Path, api_url: str, *, count: int, first_contact: int
) -> dict[str, float]:
    """As many by the floor, of messages that an API without a worker has accepted under that home."""
    requests = [load.webhook(api_url, contact=first_contact + index) for index in range(count)]
    async with SimulatorClient(started["simulator_url"]) as client:
        after = await _last_seq(client)
        before, database_before = time.process_time(), cpu_s(postmaster(home))
        accepted = await load.post_all(api_url, requests, connections=16)
        await floor.run(home, model_url=started["model_url"], twilio_url=started["simulator_url"])
        spent, database = time.process_time() - before, cpu_s(postmaster(home)) - database_before
        created = await _created(client, after)
    return {
        "rate": rate(created),
        "lost": count - len(created),
        "accept_failed": accepted.failed,
        "cpu_ms": round((spent + database) / count * 1000, 1),
        "worker_ms": round(spent / count * 1000, 1),
        "postgres_ms": round(database / count * 1000, 1),
    }


def beside_floor(
    home: Path, floor_home: Path, *, delay_s: float, count: int, times: int, apart: bool = False
) -> dict[str, Any]:
    """Pairs of the floor and ours, each under its own home, with the same simulator and the same model."""
    numbers = iter(range(0, 100_000_000, 100_000))
    with ExitStack() as running:
        started = start(running, home, delay_s=delay_s, apart=apart)
        port = stack.free_port()
        base = f"http://127.0.0.1:{port}"
        env = stack.environment(floor_home, limits="off")
        running.enter_context(stack.process("-m", "recado", "api", "--port", str(port), env=env, up=f"{base}/healthz"))
        stack.run(introduce(started))

        def ours(count: int = count) -> dict[str, float]:
            found: dict[str, float] = stack.run(turns(started, count=count, first_contact=next(numbers)))
            return found

        def baseline(count: int = count) -> dict[str, float]:
            found: dict[str, float] = stack.run(
                _floor(started, floor_home, base, count=count, first_contact=next(numbers))
            )
            return found

        baseline(20), ours(20)
        return pairs.in_turn(baseline, ours, times=times)


def measure(*, count: int = 150, times: int = 3) -> dict[str, Any]:
    """Both models."""
    with stack.home() as home, stack.home() as floor_home:
        stack.run(stack.set_up(home))
        stack.run(stack.set_up(floor_home))
        return {
            name: beside_floor(home, floor_home, delay_s=delay_s, count=count, times=times)
            for name, delay_s in (("instant", 0.0), ("two_seconds", 2.0))
        }


def cost(*, count: int = 100, times: int = 5) -> dict[str, Any]:
    """What a turn and its delivery cost in CPU, with an instant model, each in a worker of its own."""
    with stack.home() as home, stack.home() as floor_home:
        stack.run(stack.set_up(home))
        stack.run(stack.set_up(floor_home))
        found = beside_floor(home, floor_home, delay_s=0.0, count=count, times=times, apart=True)
        floors = found["baseline"]["cpu_ms"]
        for name in ("turns_ms", "deliveries_ms", "postgres_ms"):
            found["ours"][f"{name}_to_floor"] = round(found["ours"][name] / floors, 2) if floors else 0.0
        return found


if __name__ == "__main__":
    print(measure(count=int(os.environ.get("COUNT", "150"))), file=sys.stdout)
