"""Who goes on with which erasure, and what is written down of it.

An erasure's state is its rows, so any worker goes on where another has stopped or died: it takes one that is due for a
while, which every transaction of its work prolongs, and so does its waiting for storage or Twilio (`held`). Two at once
would do no harm: each thing is counted by whoever deletes its row.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from recado.channels.port import Eraser
from recado.db.pool import PASSING, Connection, Pool
from recado.db.secrets import Keyring
from recado.media.storage import Storage

log = structlog.get_logger(__name__)

#: So long nobody else goes on with an erasure that a worker has last written of.
HELD_S: Final = 30.0
#: After so long the erasure lets others go first; what has begun is finished before.
TURN_S: Final = 20.0
#: What Twilio does not let be deleted in this time is left, and said.
GIVE_UP_DAYS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseDesk:
    """What erasing works with. `eraser_of` deletes at an owner's Twilio account."""

    platform: Pool
    storage: Storage
    keyring: Keyring
    eraser_of: Callable[[UUID, UUID], Awaitable[Eraser]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An erasure that this worker goes on with."""

    owner_id: UUID
    id: UUID
    contact_ids: list[UUID]
    identity_hashes: list[bytes]
    status: str
    requested_at: datetime
    tries: int
    suppressed_why: str | None


_TAKE: Final = """
UPDATE erasures e SET look_again_at = clock_timestamp() + make_interval(secs => %(held_s)s)
FROM (SELECT owner_id, id FROM erasures
      WHERE status IN ('stopping', 'erasing', 'twilio') AND look_again_at <= clock_timestamp()
      ORDER BY look_again_at LIMIT 1 FOR UPDATE SKIP LOCKED) due
WHERE e.owner_id = due.owner_id AND e.id = due.id
RETURNING e.owner_id, e.id, e.contact_ids, e.identity_hashes, e.status, e.requested_at, e.tries, e.suppressed_why
"""


async def take(platform: Connection) -> Taken | None:
    """The erasure that has been due for longest, if one is."""
    row = await (await platform.execute(_TAKE, {"held_s": HELD_S})).fetchone()
    return Taken(**row) if row is not None else None


_NOTE: Final = """
UPDATE erasures
SET counts = counts || coalesce((
        SELECT jsonb_object_agg(key, coalesce((counts ->> key)::bigint, 0) + value::bigint)
        FROM jsonb_each_text(%(more)s::jsonb)), '{}'),
    look_again_at = clock_timestamp() + make_interval(secs => %(held_s)s)
WHERE owner_id = %(owner)s AND id = %(id)s
"""


async def note(platform: Connection, erasure: Taken, more: Mapping[str, int]) -> None:
    """So much more was deleted, or kept; in the transaction that did it."""
    counted = {name: number for name, number in more.items() if number}
    await platform.execute(
        _NOTE, {"more": json.dumps(counted), "held_s": HELD_S, "owner": erasure.owner_id, "id": erasure.id}
    )


_HOLD: Final = """
UPDATE erasures SET look_again_at = clock_timestamp() + make_interval(secs => %(held_s)s)
WHERE owner_id = %(owner)s AND id = %(id)s
"""


@asynccontextmanager
async def held(platform: Pool, erasure: Taken) -> AsyncIterator[None]:
    """Nobody else goes on with the erasure meanwhile, however long storage or Twilio take; no connection is kept."""
    ended = asyncio.Event()
    holding = asyncio.create_task(_hold(platform, erasure, ended))
    try:
        yield
    finally:
        # A statement is never cut off: what is written next is not overtaken by it.
        ended.set()
        await holding


async def _hold(platform: Pool, erasure: Taken, ended: asyncio.Event) -> None:
    while True:
        try:
            async with asyncio.timeout(HELD_S / 3):
                await ended.wait()
            return
        except TimeoutError:
            pass
        try:
            async with platform.connection() as conn:
                await conn.execute(_HOLD, {"held_s": HELD_S, "owner": erasure.owner_id, "id": erasure.id})
        except PASSING as error:
            log.warning("database_unavailable", task="erase", error=type(error).__name__)


async def wait(platform: Connection, erasure: Taken, *, waits_for: str, seconds: float) -> None:
    """Nothing more can be done for so long."""
    await platform.execute(
        "UPDATE erasures SET waits_for = %s, tries = tries + 1, "
        "look_again_at = clock_timestamp() + make_interval(secs => %s) WHERE owner_id = %s AND id = %s",
        [waits_for, seconds, erasure.owner_id, erasure.id],
    )


async def become(platform: Connection, erasure: Taken, status: str) -> None:
    """The erasure is a step further, back at `stopping`, or at the same step still; it is due at once, after others.

    Where somebody else has brought it to another step meanwhile, it stays there.
    """
    await platform.execute(
        "UPDATE erasures SET status = %s, waits_for = NULL, tries = 0, look_again_at = clock_timestamp(), "
        "erased_at = CASE WHEN %s THEN clock_timestamp() ELSE erased_at END "
        "WHERE owner_id = %s AND id = %s AND status = %s",
        [status, status == "twilio", erasure.owner_id, erasure.id, erasure.status],
    )
