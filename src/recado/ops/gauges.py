"""Gauges: what the metrics say of the whole database, and how this process stands to it.

The whole database is looked at by one worker at a time, whose lock says so (`executors`), with statements that cost the
same however much there is: counts end at `MOST`. A look that fails, or a worker that is no longer the one, takes the
values away: none is better than an old one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from recado import metrics
from recado.db.pool import PASSING, Connection, Pool
from recado.db.work import DELIVERIES, QUEUES, SERVED, TURNS
from recado.ops import lag
from recado.ops.health import ALIVE

log = structlog.get_logger(__name__)

#: How often a process looks, and how long one look may take.
EVERY_S: Final = 20.0
BOUND_S: Final = 10.0
#: How often while nobody can answer.
SOON_S: Final = 5.0
#: What is counted is counted up to this.
MOST: Final = 20_000

_QUEUES = "SELECT queue, depth, oldest_s FROM work_waits(%s, %s)"
_HELD = f"""
SELECT held_for, count(*) AS number FROM (
    SELECT held_for FROM messages WHERE status = 'held' ORDER BY id LIMIT {MOST}) held
GROUP BY held_for
"""  # noqa: S608 - a constant
# Of other logins' sessions only those that write are seen, unless this one may read statistics.
_DATABASE = """
SELECT greatest(
           (SELECT max(age(a.backend_xmin)) FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid()),
           (SELECT max(age(p.transaction)) FROM pg_prepared_xacts p),
           (SELECT max(greatest(age(s.xmin), age(s.catalog_xmin))) FROM pg_replication_slots s),
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint
           - pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 0)::bigint AS xmin_age,
       (SELECT age(d.datfrozenxid) FROM pg_database d WHERE d.datname = current_database()) AS xid_age,
       (SELECT sum(s.numbackends)::int FROM pg_stat_database s) AS used,
       current_setting('max_connections')::int AS connections
"""
_DEAD_ROWS = """
SELECT relname AS name, n_dead_tup AS dead FROM pg_stat_all_tables
WHERE schemaname = 'recado' AND relname IN ('messages', 'message_parts', 'conversations', 'events', 'usage')
   OR schemaname = 'dbos' AND relname = 'workflow_status'
"""
_WORKERS = f"""
SELECT queue, count(*) AS number FROM executors e, unnest(e.queues) queue WHERE {ALIVE} GROUP BY queue
"""  # noqa: S608 - a constant
_OF_ALL: Final = (
    *(metrics.QUEUE_DEPTH, metrics.QUEUE_OLDEST, metrics.HELD, metrics.XMIN_AGE, metrics.XID_AGE, metrics.DEAD_ROWS),
    *(metrics.DATABASE_CONNECTIONS, metrics.GAUGES_UP),
)
_OF_PROCESS: Final = (metrics.CLOCK_SKEW, metrics.LIVE_WORKERS, metrics.CAN_ANSWER)


async def look(conn: Connection) -> None:
    """Set what is said of the whole database. Reads through indexes, and no further than `MOST` rows of anything."""
    queues = await (await conn.execute(_QUEUES, [list(QUEUES), MOST])).fetchall()
    held = await (await conn.execute(_HELD)).fetchall()
    dead = await (await conn.execute(_DEAD_ROWS)).fetchall()
    [database] = await (await conn.execute(_DATABASE)).fetchall()
    metrics.QUEUE_DEPTH.set({(row["queue"],): float(row["depth"]) for row in queues})
    metrics.QUEUE_OLDEST.set({(row["queue"],): row["oldest_s"] for row in queues})
    metrics.HELD.set({(row["held_for"],): float(row["number"]) for row in held})
    metrics.DEAD_ROWS.set({(row["name"],): float(row["dead"]) for row in dead})
    metrics.XMIN_AGE.set({(): float(database["xmin_age"])})
    metrics.XID_AGE.set({(): float(database["xid_age"])})
    metrics.DATABASE_CONNECTIONS.set({("used",): database["used"], ("limit",): database["connections"]})
    metrics.GAUGES_UP.set({(): 1.0})


async def look_around(conn: Connection) -> None:
    """Set what this process sees of its surroundings: how its clock differs from the database's, who could answer."""
    before = time.time()
    [row] = await (await conn.execute("SELECT extract(epoch FROM clock_timestamp())::float AS now")).fetchall()
    # The database said so somewhere between the two.
    metrics.CLOCK_SKEW.set({(): (before + time.time()) / 2 - row["now"]})
    workers = await (await conn.execute(_WORKERS)).fetchall()
    found = {row["queue"]: float(row["number"]) for row in workers}
    metrics.LIVE_WORKERS.set({(queue,): found.get(queue, 0.0) for queue in SERVED})
    metrics.CAN_ANSWER.set({(): float(bool(found.get(TURNS) and found.get(DELIVERIES)))})


async def watch(
    *,
    around: Pool,
    platform: Pool | None = None,
    chosen: Callable[[], Awaitable[bool]] | None = None,
    every_s: float = EVERY_S,
) -> None:
    """Look every `every_s` until cancelled: around with `around`, and with `platform` at all while this is `chosen`."""
    metrics.LOOP_LAG.read = lambda: {
        ("now",): lag.OF_PROCESS.now_s,
        ("worst",): lag.OF_PROCESS.worst_lately_s(time.monotonic()),
    }
    metrics.LOOP_LATE.read = lambda: {(): float(lag.OF_PROCESS.times_late)}
    try:
        while True:
            await _once(_OF_PROCESS, partial(_on, around, look_around))
            if platform is not None and chosen is not None:
                await _once(_OF_ALL, partial(_look_for_all, platform, chosen))
            pause_s = every_s if metrics.CAN_ANSWER.value() else min(every_s, SOON_S)
            await asyncio.sleep(pause_s * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
    finally:
        _forget((*_OF_PROCESS, *_OF_ALL))


async def _look_for_all(platform: Pool, chosen: Callable[[], Awaitable[bool]]) -> None:
    if await chosen():
        await _on(platform, look)
    else:
        _forget(_OF_ALL)


async def _on(pool: Pool, looking: Callable[[Connection], Awaitable[None]]) -> None:
    async with pool.connection(timeout=2) as conn:
        await looking(conn)


async def _once(levels: tuple[metrics.Level, ...], looking: Callable[[], Awaitable[None]]) -> None:
    """Look once; what could not be looked at has no value."""
    try:
        async with asyncio.timeout(BOUND_S):
            await looking()
    except (*PASSING, TimeoutError) as error:
        _forget(levels)
        log.info("not_looked_at", task="gauges", error=type(error).__name__)
    except Exception:
        _forget(levels)
        log.exception("not_looked_at", task="gauges")


def _forget(levels: tuple[metrics.Level, ...]) -> None:
    for one in levels:
        one.forget()
