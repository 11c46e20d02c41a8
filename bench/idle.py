"""`recado serve` with nothing to do: what it costs, and how soon a lone message is answered."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import Any

import psutil

from bench import ack, load, stack
from bench.turns import cpu_s, postmaster
from recado.simulator.client import SimulatorClient

QUIET_WINDOW_MS = 1200


async def _latencies(base: str, simulator_url: str, count: int) -> list[float]:
    async with SimulatorClient(simulator_url) as client:
        await client.add_account(load.ACCOUNT_SID, load.TOKEN)
        await client.add_number(load.ACCOUNT_SID, load.NUMBER, base + load.PATH)
        sent = {}
        for index in range(count):
            contact = f"whatsapp:+55118{index:08d}"
            sent[contact] = time.time()
            await client.send("Que horas abrem?", account_sid=load.ACCOUNT_SID, from_=contact, to=load.NUMBER)
            await asyncio.sleep(0.35)
        await asyncio.sleep(3)
        calls = [call for call in await client.calls() if call.operation == "create"]
    return [(call.at - sent[call.form["To"]]) * 1000 - QUIET_WINDOW_MS for call in calls]


def both(pid: int) -> list[psutil.Process]:
    """The API's process and the worker's beside it; what they share is counted once (PSS)."""
    serve = psutil.Process(pid)
    return [serve, *(one for one in serve.children() if "worker" in one.cmdline())]


def measure(*, count: int = 40, idle_s: float = 15.0) -> dict[str, Any]:
    """Idle CPU as a share of one core, memory in MB, latency from webhook to Twilio's POST less the quiet window."""
    with stack.home() as home, ExitStack() as running:
        stack.run(stack.set_up(home))
        port, simulator = stack.free_port(), stack.free_port()
        base, simulator_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{simulator}"
        env = stack.environment(home, public_url=base, twilio_api_url=simulator_url, quiet_window_ms=QUIET_WINDOW_MS)
        running.enter_context(
            stack.process("-m", "bench.twilio", str(simulator), env=env, up=f"{simulator_url}/sim/health")
        )
        serve = running.enter_context(
            stack.process("-m", "recado", "serve", "--port", str(port), env=env, up=f"{base}/readyz")
        )
        time.sleep(2)
        before, postgres, began = cpu_s(serve.pid), cpu_s(postmaster(home)), time.monotonic()
        time.sleep(idle_s)
        seconds = time.monotonic() - began
        idle = (cpu_s(serve.pid) - before) / seconds
        idle_postgres = (cpu_s(postmaster(home)) - postgres) / seconds
        latencies = stack.run(_latencies(base, simulator_url, count))
        bare = ack.bare(running, home)
        request_us = ack.posts(*bare, None, count=3000, connections=16)["cpu_us"]
        memory = sum(one.memory_full_info().pss for one in both(serve.pid)) / 1e6
    return {
        "idle_cpu_share_of_a_core": round(idle, 4),
        "idle_postgres_share_of_a_core": round(idle_postgres, 4),
        "memory_mb_after_work": round(memory, 1),
        "answered": len(latencies),
        "bare_request_cpu_us": request_us,
        # What it costs to do nothing, in requests of the bare route that would cost as much.
        "idle_in_bare_requests_a_second": round(idle * 1e6 / request_us, 1),
        "answer_p50_to_quiet_window": round(1 + load.percentile(latencies, 0.5) / QUIET_WINDOW_MS, 3),
        "latency_less_quiet_window_p50_ms": round(load.percentile(latencies, 0.5), 1),
        "latency_less_quiet_window_p99_ms": round(load.percentile(latencies, 0.99), 1),
    }
