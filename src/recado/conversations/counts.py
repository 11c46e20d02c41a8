"""Counts of an owner's messages and turns: what waits, what is held or failed, what the last hour came to.

Each is read through an index of what it counts, no further than `MOST` rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from recado.db.scope import Scope

#: What is counted is counted up to this.
MOST: Final = 20_000

_WAITING = f"""
SELECT direction, count(*) AS number, extract(epoch FROM %(now)s::timestamptz - min(received_at))::float AS oldest_s
FROM (
    SELECT direction, received_at FROM messages
    WHERE owner_id = %(owner_id)s AND status IN ('received', 'queued') ORDER BY id LIMIT {MOST}) waiting
GROUP BY direction
"""  # noqa: S608 - a constant
_STOPPED = f"""
SELECT coalesce(held_for, 'failed') AS what, count(*) AS number FROM (
    SELECT held_for FROM messages
    WHERE owner_id = %(owner_id)s AND status IN ('failed', 'held') ORDER BY id DESC LIMIT {MOST}) stopped
GROUP BY what
"""  # noqa: S608 - a constant
_LATELY = f"""
SELECT direction, status, count(*) AS number FROM (
    SELECT direction, status FROM messages
    WHERE owner_id = %(owner_id)s AND id >= uuid_floor(%(now)s::timestamptz - interval '1 hour')
    ORDER BY id DESC LIMIT {MOST}) lately
GROUP BY direction, status
"""  # noqa: S608 - a constant
# A turn has the id of the message whose arrival made it.
_TURNS = f"""
SELECT outcome, coalesce(model, 'none') AS model, count(*) AS number, sum(input_tokens)::bigint AS input_tokens,
       sum(output_tokens)::bigint AS output_tokens, sum(cost_micros)::bigint AS cost_micros,
       sum(extract(epoch FROM finished_at - started_at))::float AS took_s
FROM (SELECT * FROM turns WHERE owner_id = %(owner_id)s AND id >= uuid_floor(%(now)s::timestamptz - interval '1 hour')
      ORDER BY id DESC LIMIT {MOST}) lately
GROUP BY outcome, model
"""  # noqa: S608 - a constant
_PEOPLE = f"""
SELECT count(*) AS number FROM (
    SELECT FROM conversations WHERE owner_id = %(owner_id)s AND status = 'handoff' LIMIT {MOST}) people
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Messages of a direction that wait for their turn or delivery: how many, and how long the oldest has."""

    number: int
    oldest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Turns of an outcome and a model within the last hour, and what they used."""

    outcome: str
    model: str
    number: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """An owner's: `stopped` by what messages are held for, or `failed`; `lately` by direction and status."""

    waiting: Mapping[str, Waiting]
    stopped: Mapping[str, int]
    lately: Mapping[tuple[str, str], int]
    turns: tuple[Turns, ...]
    with_people: int


async def count(scope: Scope, now: datetime) -> Counts:
    """The owner's counts at `now`."""
    told = {"owner_id": scope.owner_id, "now": now}
    async with scope.conn.pipeline():
        waiting = await scope.conn.execute(_WAITING, told)
        stopped = await scope.conn.execute(_STOPPED, told)
        lately = await scope.conn.execute(_LATELY, told)
        turns = await scope.conn.execute(_TURNS, told)
        people = await scope.conn.execute(_PEOPLE, told)
        rows = await people.fetchone()
        assert rows is not None  # noqa: S101 - a count has a row
        return Counts(
            waiting={
                row["direction"]: Waiting(number=row["number"], oldest_s=max(0.0, row["oldest_s"]))
                for row in await waiting.fetchall()
            },
            stopped={row["what"]: row["number"] for row in await stopped.fetchall()},
            lately={(row["direction"], row["status"]): row["number"] for row in await lately.fetchall()},
            turns=tuple(Turns(**row) for row in await turns.fetchall()),
            with_people=rows["number"],
        )
