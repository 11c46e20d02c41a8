"""Retention: for how many days an owner keeps what. Nothing set is nothing deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from recado.db.scope import Scope
from recado.errors import UsageError

#: What can have a period, with the fewest days: workflows, which hold what messages do, go after three days themselves,
#: and what users did must be there to be looked into.
LEAST_DAYS: Final[Mapping[str, int]] = {"messages": 3, "media": 1, "events": 1, "audit": 30}
MOST_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """Days from when a thing came or happened; None: it is kept as long as nobody deletes it.

    `messages` with what was sent with them, and contacts of whom nothing is left; `media` files and what documents
    say; `events` what happened to messages; `audit` what users did.
    """

    messages: int | None = None
    media: int | None = None
    events: int | None = None
    audit: int | None = None


async def get(scope: Scope) -> Periods:
    """The owner's periods."""
    cursor = await scope.conn.execute("SELECT what, days FROM retention WHERE owner_id = %s", [scope.owner_id])
    return Periods(**{row["what"]: row["days"] for row in await cursor.fetchall()})


async def put(scope: Scope, periods: Periods) -> Periods:
    """Make these the owner's periods; answers those that there were. Raises UsageError for what can be none."""
    check(periods)
    before = await get(scope)
    for what, days in asdict(periods).items():
        if days is None:
            await scope.conn.execute("DELETE FROM retention WHERE owner_id = %s AND what = %s", [scope.owner_id, what])
            continue
        await scope.conn.execute(
            "INSERT INTO retention (owner_id, what, days, updated_at) VALUES (%s, %s, %s, clock_timestamp()) "
            "ON CONFLICT (owner_id, what) DO UPDATE SET days = excluded.days, updated_at = excluded.updated_at "
            "WHERE retention.days <> excluded.days",
            [scope.owner_id, what, days],
        )
    return before


def check(periods: Periods) -> None:
    """Raise UsageError for a period that is too short or too long."""
    for what, days in asdict(periods).items():
        if days is not None and not LEAST_DAYS[what] <= days <= MOST_DAYS:
            raise UsageError(f"{what} are kept for {LEAST_DAYS[what]} to {MOST_DAYS} days, or for good")
