"""Events: the append-only record of what happened, which the timeline of `recado trace` and the console read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.db.scope import Scope


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
    """The owner's events after that id, oldest first, up to where an open transaction may still put one.

    Ids are given before commits, so that an event may come to stand before one that has been committed.
    """
    # In a statement before the other's: whatever was settled then is seen by what looks afterwards.
    settled = await (await scope.conn.execute("SELECT events_settled() AS id")).fetchone()
    assert settled is not None  # noqa: S101 - a function answers
    cursor = await scope.conn.execute(
        """
        SELECT id, at, step, what, conversation_id, message_id, correlation_id, data FROM events
        WHERE owner_id = %s AND id > %s AND id <= %s ORDER BY id LIMIT %s
        """,
        [scope.owner_id, after, settled["id"], limit],
    )
    return [Event(**row) for row in await cursor.fetchall()]
