"""Whether Twilio still says that the numbers are their accounts': asked again and again, of a few accounts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import structlog

from recado.channels.twilio import numbers, proof
from recado.db.pool import PASSING, Pool
from recado.db.scope import scoped

log = structlog.get_logger(__name__)

#: How many accounts are asked for at once, and how long one may take.
ASKED_AT_ONCE, ASK_S = 5, 10.0


async def prove_numbers(
    platform: Pool,
    pool: Pool,
    listed_of: Callable[[UUID, UUID], Awaitable[frozenset[str] | None]],
    now: datetime,
) -> int:
    """Ask for the senders of accounts whose numbers are due and keep what is said; answers how many told."""
    async with platform.connection() as conn:
        due = await numbers.to_ask_for(conn, now=now)
    at_once = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(owner_id: UUID, account_id: UUID) -> bool:
        try:
            async with at_once, asyncio.timeout(ASK_S):
                listed = await listed_of(owner_id, account_id)
            async with scoped(pool, owner_id) as scope:
                await proof.keep_senders(scope, account_id, listed, now=now)
        except (TimeoutError, *PASSING) as error:
            log.info("numbers_not_asked_for", task="numbers", error=type(error).__name__)
            return False
        return listed is not None

    return sum(await asyncio.gather(*(ask(owner_id, account_id) for owner_id, account_id in due)))
