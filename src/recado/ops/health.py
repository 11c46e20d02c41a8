"""Health: whether what the product promises is possible at this moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from recado.db.pool import PASSING, Pool
from recado.db.schema import state
from recado.db.work import DELIVERIES, MEDIA, TURNS

#: Without a worker for these nothing is answered; without one for attachments, what comes with them is late.
NEEDED, WANTED = (TURNS, DELIVERIES), (MEDIA,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What stands in the way of answering, and what is only worse than it should be; both empty: all is well."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def check(pool: Pool) -> Health:
    """The database away, the schema not the present one, a queue that no live worker serves."""
    try:
        async with asyncio.timeout(3), pool.connection(timeout=2) as conn:
            found = await state(conn)
            if found != "current":
                return Health(problems=(f"schema {found}",))
            row = await (
                await conn.execute(
                    """
                    SELECT array_agg(DISTINCT queue) AS served FROM executors e, unnest(e.queues) queue
                    WHERE EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                                  AND (l.classid::bigint << 32 | l.objid::bigint) = e.lock_key)
                    """
                )
            ).fetchone()
    except (*PASSING, TimeoutError):
        return Health(problems=("database unavailable",))
    served = set(row["served"] or ()) if row is not None else set()
    if not served:
        return Health(problems=("no live worker",))
    return Health(
        problems=tuple(f"no live worker for {queue}" for queue in NEEDED if queue not in served),
        warnings=tuple(f"no live worker for {queue}" for queue in WANTED if queue not in served),
    )
