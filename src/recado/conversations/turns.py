"""Turns: one pass of an assistant over everything the contact has said since the last answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from recado.db.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A finished turn; `error` names why a model that should have answered did not, never what was said."""

    id: UUID
    conversation_id: UUID
    correlation_id: UUID
    model: str | None
    outcome: str
    rounds: int
    input_tokens: int
    output_tokens: int
    cost_micros: int = 0
    error: str | None
    started_at: datetime
    finished_at: datetime


async def add(scope: Scope, turn: Turn) -> None:
    """Store the turn; one that is stored already stays as it is."""
    await scope.conn.execute(
        """
        INSERT INTO turns (owner_id, id, conversation_id, correlation_id, model, outcome, rounds, input_tokens,
                           output_tokens, cost_micros, error, started_at, finished_at)
        VALUES (%(owner_id)s, %(id)s, %(conversation_id)s, %(correlation_id)s, %(model)s, %(outcome)s, %(rounds)s,
                %(input_tokens)s, %(output_tokens)s, %(cost_micros)s, %(error)s, %(started_at)s, %(finished_at)s)
        ON CONFLICT (owner_id, id) DO NOTHING
        """,
        {"owner_id": scope.owner_id, **asdict(turn)},
    )
