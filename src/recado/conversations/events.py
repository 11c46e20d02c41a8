"""Events: the append-only record of what happened, which the timeline of `recado trace` and the console read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.db.scope import Scope

#: How long after an event one with a smaller id may still be committed, in seconds: no transaction of ours is longer.
SETTLES = 2.0


async def record(
    scope: Scope,
    *,
    step: str,
    what: str,
    conversation_id: UUID | None = None,
    message_id: UUID | None = None,
    correlation_id: UUID | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Append one event: `step` is a step of the journey, `what` a word for what happened; `data` holds no content."""
    await scope.conn.execute(
        "INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id, data) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [scope.owner_id, step, what, conversation_id, message_id, correlation_id, Jsonb(data) if data else None],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; ids grow with time."""

    id: int
    at: datetime
    step: str
    what: str
    conversation_id: UUID | None
    message_id: UUID | None
    correlation_id: UUID | None
    data: dict[str, Any] | None


async def page(scope: Scope, *, after: int, limit: int) -> list[Event]:
    """The owner's events after that id, oldest first, those of the last `SETTLES` seconds left out.

    Ids are given before commits: in that time an event may still come to stand before one that has been committed.
    """
    cursor = await scope.conn.execute(
        """
        SELECT id, at, step, what, conversation_id, message_id, correlation_id, data FROM events
        WHERE owner_id = %s AND id > %s AND at < clock_timestamp() - make_interval(secs => %s) ORDER BY id LIMIT %s
        """,
        [scope.owner_id, after, SETTLES, limit],
    )
    return [Event(**row) for row in await cursor.fetchall()]
