"""Recovery's round, all that a worker looks for every few seconds, with 200,000 held messages beside with none."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from bench import pairs, stack

#: What looks at the workflow engine of a running worker.
ENGINES = ("unstarted",)

# Two days old, in 2,000 conversations, held for all that there is; what waits for a limit is not due yet.
_HELD = """
SET search_path TO recado;
SET synchronous_commit TO off;
INSERT INTO contacts (owner_id, id, identity_key, address, profile_name)
SELECT o.id, md5('c' || n)::uuid, 'held' || n, 'whatsapp:+5521' || lpad(n::text, 9, '0'), 'Contact ' || n
FROM owners o, generate_series(1, 2000) n;
INSERT INTO conversations (owner_id, id, number_id, contact_id, last_inbound_at, status)
SELECT o.id, md5('v' || n)::uuid, b.id, md5('c' || n)::uuid, now() - interval '2 days', 'open'
FROM owners o JOIN numbers b ON b.owner_id = o.id, generate_series(1, 2000) n;
INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, body, status, held_for,
                      look_again_at, provider_sid, correlation_id, received_at)
SELECT o.id, (substr(uuid_floor(now() - interval '2 days' + n * interval '100 ms')::text, 1, 14)
              || '7' || substr(md5(n::text), 1, 3) || '-8' || substr(md5(n::text), 4, 3) || '-'
              || substr(md5(n::text), 7, 12))::uuid,
       md5('v' || (n %% 2000 + 1))::uuid, a.id,
       CASE word WHEN 'quota' THEN 'outbound' ELSE 'inbound' END,
       CASE word WHEN 'quota' THEN 'assistant' ELSE 'contact' END, 'Olá, tudo bem?', 'held', word,
       CASE word WHEN 'quota' THEN now() + interval '1 hour' END,
       CASE WHEN word <> 'quota' THEN 'SM' || md5('m' || n) END, md5('r' || n)::uuid, now() - interval '2 days'
FROM owners o JOIN twilio_accounts a ON a.owner_id = o.id,
     generate_series(1, %(messages)s) n,
     LATERAL (SELECT (ARRAY['people', 'limit', 'budget', 'window', 'setup', 'look', 'loop', 'owner', 'opted_out',
                            'quota'])[n %% 10 + 1] AS word) kind;
"""


def hold(admin_url: str, messages: int) -> float:
    """Put so many held messages there; answers the seconds it took."""
    began = time.monotonic()
    with psycopg.connect(admin_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role TO replica")
        psycopg.ClientCursor(conn).execute(_HELD, {"messages": messages})
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")
    return round(time.monotonic() - began, 1)


async def _rounds(without: Path, beside: Path, *, messages: int, times: int) -> dict[str, Any]:
    from recado.ops import sweeps
    from recado.settings import Settings
    from recado.wiring import wire

    async def nobody(_owner: UUID, _account: UUID) -> Any:
        raise AssertionError("nothing is silent here")

    async with AsyncExitStack() as opened:
        looks: list[list[sweeps.Sweep]] = []
        seconds = 0.0
        for home in (without, beside):
            wiring = await opened.enter_async_context(wire(Settings(home=home, database_url=None, _env_file=None)))
            if home is beside:
                seconds = hold(wiring.database.admin_url, messages)
            found = sweeps.of_a_worker(
                pool=wiring.pool,
                platform=await opened.enter_async_context(wiring.platform_pool()),
                clock=wiring.clock,
                sender_of=nobody,
                listed_of=nobody,
                at_work=timedelta(minutes=2),
            )
            looks.append([one for one in found if one.period_s == sweeps.SOON_S and one.name not in ENGINES])

        async def once(looked: list[sweeps.Sweep]) -> dict[str, float]:
            took: dict[str, float] = {}
            for one in looked:
                began = time.perf_counter()
                await one.run()
                took[one.name] = (time.perf_counter() - began) * 1000
            return {"round_ms": sum(took.values()), **{f"{name}_ms": ms for name, ms in took.items()}}

        for looked in looks:
            await once(looked)
        measured = await pairs.in_turn_async(lambda: once(looks[0]), lambda: once(looks[1]), times=times)
    return {**measured, "held": messages, "load_seconds": seconds}


def measure(*, messages: int = 200_000, times: int = 15) -> dict[str, Any]:
    """Milliseconds of a round and of each of its looks, with the held ones and without, on two databases."""
    with ExitStack() as homes:
        without, beside = (homes.enter_context(stack.home()) for _ in range(2))
        for home in (without, beside):
            stack.run(stack.set_up(home))
        figures: dict[str, Any] = stack.run(_rounds(without, beside, messages=messages, times=times))
    return figures
