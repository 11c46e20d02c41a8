"""Answers that are kept for an `Idempotency-Key`, so that a request which comes again is answered, not done again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from recado.db.pool import Connection

#: How long the same key gets the same answer.
KEPT: Final = timedelta(hours=24)


async def delete_old(platform: Connection, *, now: datetime, at_most: int = 10_000) -> int:
    """Delete answers that no request can get any more, of all owners and of none; says how many."""
    deleted = await platform.execute(
        """
        DELETE FROM idempotency_keys WHERE id IN (
            SELECT id FROM idempotency_keys WHERE created_at < %s
            ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED)
        """,
        [now - KEPT, at_most],
    )
    return deleted.rowcount
