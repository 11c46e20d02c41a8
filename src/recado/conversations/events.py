"""Events: the append-only record of what happened, which the timeline of `recado trace` and the console read."""

from __future__ import annotations

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
