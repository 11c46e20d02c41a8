"""Health: whether a process can accept, and whether what was accepted is answered. Two questions, kept apart.

Webhooks are refused only for what accepting needs: a database that answers, with a schema that this version works
with. That no worker is alive, or that a queue is late, is told (`/readyz` as a warning, `recado doctor`, metrics) and
refuses nothing: what is accepted waits, and is answered when workers are back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recado.db.pool import PASSING, Connection, Pool
from recado.db.schema import standing
from recado.db.work import QUEUES, SERVED

#: A database that has not answered a probe for so long is taken for one that is away.
PROBE_S: Final = 3.0
#: What is due and was not begun for so long is late.
LATE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What stands in the way of accepting, and what is only worse than it should be; both empty: all is well."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """By queue: how many live workers serve it, and since how many seconds the oldest that is due waits for one."""

    live: Mapping[str, int]
    oldest_s: Mapping[str, float]

    @property
    def late(self) -> tuple[str, ...]:
        """The queues in which something has been due for longer than it should."""
        return tuple(queue for queue, age_s in self.oldest_s.items() if age_s >= LATE_S)


NO_TEMPORARY: Final = "no right to TEMPORARY on the database"
#: A worker lives as long as PostgreSQL holds its lock.
ALIVE: Final = """
EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND (l.classid::bigint << 32 | l.objid::bigint) = e.lock_key)
"""
_LIVE: Final = f"""
SELECT queue, count(*) AS live FROM executors e, unnest(e.queues) queue WHERE {ALIVE} GROUP BY queue
"""  # noqa: S608 - a constant
_OLDEST: Final = "SELECT queue, oldest_s FROM work_waits(%s, 1)"


async def check(pool: Pool) -> Health:
    """Whether this process can accept; answers within `PROBE_S`, whatever the database does."""
    try:
        async with asyncio.timeout(PROBE_S), pool.connection(timeout=PROBE_S - 1) as conn:
            schema = await standing(conn)
            if not schema.serves:
                return Health(problems=(f"schema {schema.state}",))
            if not await may_accept(conn):
                return Health(problems=(NO_TEMPORARY,))
            live = await _live(conn)
    except (*PASSING, TimeoutError):
        return Health(problems=("database unavailable",))
    unserved = tuple(f"no live worker for {queue}" for queue in SERVED if queue not in live)
    return Health(warnings=schema.warnings + (unserved if live else ("no live worker",)))


async def may_accept(conn: Connection) -> bool:
    """Whether this role may prepare what accepting and confirming are: functions of the session's own."""
    row = await (await conn.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY') AS may")).fetchone()
    return row is not None and bool(row["may"])


async def answering(platform: Connection) -> Answering:
    """Whether what was accepted is answered; on a connection that sees all owners' work, without any owner's data."""
    rows = await (await platform.execute(_OLDEST, [list(QUEUES)])).fetchall()
    live = await _live(platform)
    return Answering(
        live={queue: live.get(queue, 0) for queue in SERVED},
        oldest_s={row["queue"]: row["oldest_s"] for row in rows},
    )


async def _live(conn: Connection) -> dict[str, int]:
    return {row["queue"]: row["live"] for row in await (await conn.execute(_LIVE)).fetchall()}
