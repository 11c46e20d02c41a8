"""Health: whether what the product promises is possible at this moment."""

from __future__ import annotations

import asyncio

from recado.db.pool import PASSING, Pool
from recado.db.schema import state


async def problems(pool: Pool) -> list[str]:
    """What stands in the way: the database away, the schema not the present one, no worker alive. Empty: ready."""
    try:
        async with asyncio.timeout(3), pool.connection(timeout=2) as conn:
            found = await state(conn)
            if found != "current":
                return [f"schema {found}"]
            row = await (
                await conn.execute(
                    """
                    SELECT count(*) AS alive FROM executors e
                    WHERE EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                                  AND (l.classid::bigint << 32 | l.objid::bigint) = e.lock_key)
                    """
                )
            ).fetchone()
    except (*PASSING, TimeoutError):
        return ["database unavailable"]
    return [] if row is not None and row["alive"] else ["no live worker"]
