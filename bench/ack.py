"""How fast webhooks are acknowledged, beside a bare route that only checks the signature and raw commits."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from bench import load, pairs, stack
from bench.turns import cpu_s, postmaster


async def _post(base_url: str, count: int, connections: int, first_contact: int) -> load.Result:
    requests = [load.webhook(base_url, contact=first_contact + index % 500) for index in range(count)]
    return await load.post_all(base_url, requests, connections=connections)


def raw_commits(conn: psycopg.Connection[Any], count: int) -> dict[str, float]:
    """One connection that commits single rows, one after the other."""
    began = time.perf_counter()
    for _ in range(count):
        conn.execute("INSERT INTO public.bench_raw (body) VALUES (%s)", ["x" * 100])
    return {"rate": round(count / (time.perf_counter() - began), 1)}


#: Counted as always, and never reached.
ON = "ip=600/minute;account=9000000/minute;contact=900000/minute"


def posts(
    base: str, pid: int, database: int | None, *, count: int, connections: int, first_contact: int = 0
) -> dict[str, float]:
    """So many webhooks: how many a second, how soon, and the processor's time that one took, of PostgreSQL too."""

    def cpu() -> float:
        return cpu_s(pid) + (cpu_s(database) if database is not None else 0.0)

    before = cpu()
    row = uvloop.run(_post(base, count, connections, first_contact)).row()
    return {**row, "cpu_us": round((cpu() - before) / count * 1e6)}


def api(
    running: ExitStack, home: Path, *, limits: str = ON, first_contact: int = 0, **settings: Any
) -> tuple[str, int]:
    """`recado api`, warm: its address and its process."""
    return _warm(running, home, ("-m", "recado", "api", "--port"), "/healthz", first_contact, limits=limits, **settings)


def bare(running: ExitStack, home: Path) -> tuple[str, int]:
    """The baseline route, warm."""
    return _warm(running, home, ("-m", "bench.bare"), "/openapi.json", 0)


def _warm(
    running: ExitStack, home: Path, command: tuple[str, ...], up: str, first_contact: int, **settings: Any
) -> tuple[str, int]:
    port = stack.free_port()
    base = f"http://127.0.0.1:{port}"
    env = stack.environment(home, **settings)
    started = running.enter_context(stack.process(*command, str(port), env=env, up=base + up))
    uvloop.run(_post(base, 600, 16, first_contact))
    return base, started.pid


def measure(*, count: int = 3000, times: int = 4) -> dict[str, Any]:
    """Pairs with the bare route and with raw commits, and with limits on beside off, on one home."""
    from recado.settings import Settings
    from recado.wiring import database

    with stack.home() as home, ExitStack() as running:
        there = running.enter_context(database(Settings(home=home, _env_file=None)))
        conn = running.enter_context(psycopg.connect(there.admin_url, autocommit=True))
        conn.execute("CREATE TABLE IF NOT EXISTS public.bench_raw (id bigserial PRIMARY KEY, body text)")
        stack.run(stack.set_up(home))
        baseline = bare(running, home)
        ours = api(running, home)
        unlimited = api(running, home, limits="off", first_contact=1000)
        # As where it has run for a while: PostgreSQL knows how large the tables are.
        stack.settle(home)
        postgres = postmaster(home)

        def bare_at(connections: int, count: int) -> pairs.Measured:
            return posts(*baseline, None, count=count, connections=connections)

        def ours_at(connections: int, count: int) -> pairs.Measured:
            return posts(*ours, postgres, count=count, connections=connections)

        figures: dict[str, Any] = {
            f"at_{connections}": pairs.in_turn(
                partial(bare_at, connections, some), partial(ours_at, connections, some), times=times
            )
            for connections, some in ((1, count // 10), (16, count), (64, count))
        }
        figures["to_raw_commits"] = pairs.in_turn(
            partial(raw_commits, conn, count // 3), partial(ours_at, 16, count // 2), times=times
        )
        figures["limits"] = pairs.in_turn(
            partial(posts, *unlimited, postgres, count=count // 2, connections=16, first_contact=1000),
            partial(posts, *ours, postgres, count=count // 2, connections=16, first_contact=1000),
            times=times + 2,
        )
    return figures
