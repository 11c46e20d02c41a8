"""After a restore nothing is sent to anybody, and nothing answered, until Twilio's list has said what went out since.

A restore needs every process stopped, so a worker that finds no account silent when it starts never looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from recado import stopping
from recado.db.pool import PASSING, Connection, Pool, Row, persistently
from recado.db.scope import scoped
from recado.journey.pause import Later

log = structlog.get_logger(__name__)

#: How often a worker looks whether accounts were released, and how long what they hold back waits each time.
LOOK_S: Final = 2.0
WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A Twilio account since the last restore: silent until `released_at`."""

    owner_id: UUID
    owner: str
    account_id: UUID
    account_sid: str
    since: datetime
    asked_at: datetime | None
    error: str | None
    released_at: datetime | None
    released_by: str | None
    counts: dict[str, int]


_ALL = """
SELECT q.owner_id, o.name AS owner, q.account_id, a.account_sid, q.since, q.asked_at, q.error, q.released_at,
       q.released_by, q.counts
FROM (
    -- Of one that was restored again before it was released the older moment counts.
    SELECT DISTINCT ON (owner_id, account_id) * FROM quarantine
    ORDER BY owner_id, account_id, released_at IS NOT NULL,
             CASE WHEN released_at IS NULL THEN since END, restored_at DESC
) q JOIN twilio_accounts a ON a.owner_id = q.owner_id AND a.id = q.account_id
JOIN owners o ON o.id = q.owner_id ORDER BY q.released_at IS NOT NULL, o.name, a.account_sid
"""


async def accounts(platform: Connection) -> list[Silence]:
    """Every account that the last restore has silenced, those first that still are."""
    return [Silence(**row) for row in await (await platform.execute(_ALL)).fetchall()]


@dataclass(slots=True)
class Quarantine:
    """What a worker asks before it answers or sends."""

    pool: Pool
    silent: frozenset[UUID] = field(default_factory=frozenset)
    #: Those whose accounts these are: nothing is posted to their webhooks either.
    owners: frozenset[UUID] = field(default_factory=frozenset)

    def keeps_from_posting(self, owner_id: UUID) -> bool:
        """Whether the owner's webhooks wait: what they were told may be told again, and by a rehearsal."""
        return owner_id in self.owners

    async def hold_back(
        self, owner_id: UUID, *, conversation_id: UUID | None = None, message_id: UUID | None = None
    ) -> None:
        """Raise Later where the conversation, or the message's, is of an account that may not speak yet."""
        if not self.silent:
            return

        async def ask() -> Row | None:
            async with scoped(self.pool, owner_id) as scope:
                cursor = await scope.conn.execute(
                    """
                    SELECT n.account_id FROM conversations v
                    JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
                    WHERE v.owner_id = %(owner)s AND v.id = coalesce(%(conversation)s::uuid, (
                        SELECT m.conversation_id FROM messages m
                        WHERE m.owner_id = %(owner)s AND m.id = %(message)s::uuid))
                    """,
                    {"owner": owner_id, "conversation": conversation_id, "message": message_id},
                )
                return await cursor.fetchone()

        row = await persistently(ask)
        if row is not None and row["account_id"] in self.silent:
            raise Later(WAIT_S)


_SILENT = "SELECT account_id, owner_id FROM quarantine WHERE released_at IS NULL"


@asynccontextmanager
async def watched(pool: Pool, platform: Callable[[], Awaitable[Connection]]) -> AsyncIterator[Quarantine]:
    """The quarantine as it stands before this worker takes anything, and as accounts are released."""
    held = Quarantine(pool)
    async with await platform() as conn:
        held.silent, held.owners = await _look(conn)
    if not held.silent:
        yield held
        return
    log.warning("quarantine", count=len(held.silent), note="nothing is sent: see `recado restore status`")
    watching = asyncio.create_task(_watch(held, platform), name="quarantine")
    try:
        yield held
    finally:
        await stopping.end(watching, within_s=1.0)


async def _watch(held: Quarantine, platform: Callable[[], Awaitable[Connection]]) -> None:
    while held.silent:
        await asyncio.sleep(LOOK_S)
        try:
            async with await platform() as conn:
                now = await _look(conn)
        except PASSING as error:
            log.warning("database_unavailable", task="quarantine", error=type(error).__name__)
            continue
        if now != (held.silent, held.owners):
            held.silent, held.owners = now
            log.info("quarantine", count=len(held.silent))


async def _look(conn: Connection) -> tuple[frozenset[UUID], frozenset[UUID]]:
    rows = await (await conn.execute(_SILENT)).fetchall()
    return frozenset(row["account_id"] for row in rows), frozenset(row["owner_id"] for row in rows)
