"""How fast webhooks are acknowledged, beside a bare route that only checks the signature and raw commits."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import uvloop

from bench import load, stack
from bench.turns import cpu_s, postmaster


async def _post(base_url: str, count: int, connections: int, first_contact: int) -> load.Result:
    requests = [load.webhook(base_url, contact=first_contact + index % 500) for index in range(count)]
    return await load.post_all(base_url, requests, connections=connections)


def commits(home: Path, count: int = 2000) -> dict[str, float]:
    """One connection that commits single rows, one after the other."""
    from recado.settings import Settings
    from recado.wiring import database

    with (
        database(Settings(home=home, _env_file=None)) as there,
        psycopg.connect(there.admin_url, autocommit=True) as conn,
    ):
        conn.execute("CREATE TABLE IF NOT EXISTS public.bench_raw (id bigserial PRIMARY KEY, body text)")
        began = time.perf_counter()
        for _ in range(count):
            conn.execute("INSERT INTO public.bench_raw (body) VALUES (%s)", ["x" * 100])
        return {"rate": round(count / (time.perf_counter() - began), 1)}


def bare(home: Path, *, count: int) -> dict[str, Any]:
    """The baseline route at 16 and 64 connections."""
    port = stack.free_port()
    base = f"http://127.0.0.1:{port}"
    figures = {}
    with stack.process("-m", "bench.bare", str(port), env=stack.environment(home), up=f"{base}/openapi.json"):
        uvloop.run(_post(base, 500, 16, 0))
        for connections in (16, 64):
            figures[str(connections)] = uvloop.run(_post(base, count, connections, 0)).row()
    return figures


def accept(home: Path, *, count: int, first_contact: int = 0) -> dict[str, Any]:
    """`recado api` at 1, 16 and 64 connections, with what each request costs."""
    port = stack.free_port()
    base = f"http://127.0.0.1:{port}"
    figures: dict[str, Any] = {}
    env = stack.environment(home, limits=ON)
    with ExitStack() as running:
        api = running.enter_context(
            stack.process("-m", "recado", "api", "--port", str(port), env=env, up=f"{base}/healthz")
        )
        uvloop.run(_post(base, 600, 16, first_contact))
        for connections in (1, 16, 64):
            requests = count if connections > 1 else count // 10
            before = cpu_s(api.pid), cpu_s(postmaster(home))
            result = uvloop.run(_post(base, requests, connections, first_contact)).row()
            spent = cpu_s(api.pid) - before[0], cpu_s(postmaster(home)) - before[1]
            figures[str(connections)] = result | {
                "api_us": round(spent[0] / requests * 1e6),
                "postgres_us": round(spent[1] / requests * 1e6),
            }
    return figures


#: Counted as always, and never reached.
ON = "ip=600/minute;account=9000000/minute;contact=900000/minute"


def limits(home: Path, *, count: int, rounds: int = 6, connections: int = 16) -> dict[str, Any]:
    """`recado api` with limits and without, in turns: whatever the machine does hits both alike.

    `on_to_off` is the median of the ratios of neighbours, each pair in the other order than the one before.
    """
    bases, ratios, rates = {}, [], dict[str, list[float]](on=[], off=[])
    with ExitStack() as running:
        for name, value in (("on", ON), ("off", "off")):
            port = stack.free_port()
            bases[name] = f"http://127.0.0.1:{port}"
            env = stack.environment(home, limits=value)
            arguments = ("-m", "recado", "api", "--port", str(port))
            running.enter_context(stack.process(*arguments, env=env, up=f"{bases[name]}/healthz"))
            uvloop.run(_post(bases[name], 600, connections, 1000))
        for number in range(rounds):
            for name in ("on", "off") if number % 2 else ("off", "on"):
                rates[name].append(uvloop.run(_post(bases[name], count, connections, 1000)).row()["rate"])
            ratios.append(rates["on"][-1] / rates["off"][-1])
    return {**rates, "ratios": [round(ratio, 3) for ratio in ratios], "on_to_off": round(median(ratios), 3)}


def measure(*, count: int = 6000) -> dict[str, Any]:
    """Bare, raw commits and accept in one run on one home; ratios against the bare route, and of limits on to off."""
    with stack.home() as home:
        stack.run(stack.set_up(home))
        baseline = bare(home, count=count)
        raw = commits(home)
        accepted = accept(home, count=count)
        limited = limits(home, count=count // 2)
        again = bare(home, count=count)
    ratio = {}
    for connections in ("16", "64"):
        base = (baseline[connections]["rate"] + again[connections]["rate"]) / 2
        ratio[connections] = round(accepted[connections]["rate"] / base, 3)
    return {
        "bare": baseline,
        "bare_again": again,
        "raw_commit": raw,
        "accept": accepted,
        "ratio_to_bare": ratio,
        "limits": limited,
    }
