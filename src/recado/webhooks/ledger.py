"""What the delivery of events keeps in the database: who holds an endpoint, what it is due, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from recado.conversations import events
from recado.conversations.events import Event
from recado.conversations.happenings import happened
from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.fair import allot
from recado.ids import new_id
from recado.webhooks import payload
from recado.webhooks.endpoints import SHOWN
from recado.webhooks.post import Posted

#: An endpoint is its holder's for so long after the last word; it is free at once when the holder is known to be dead.
HELD_S: Final = 60.0
#: What happens to no conversation is in a lane of its own.
NO_LANE: Final = UUID(int=0)
#: While so many events wait for an endpoint, no more are taken from the owner's events.
WAITING_MOST: Final = 2_000
#: An event is tried for so long, and an endpoint that takes nothing for so long is disabled.
SPAN_S: Final = 5 * 86_400.0
#: How many endpoints are looked at for a claim.
_LOOKED_AT: Final = 500

# An owner who is suspended is told nothing; it goes on where it stood.
_DUE: Final = """
SELECT w.owner_id::text AS owner, w.id FROM webhooks w JOIN owners o ON o.id = w.owner_id AND o.status = 'active'
CROSS JOIN (SELECT events_settled() AS id) settled
WHERE w.status = 'enabled' AND w.next_at <= clock_timestamp()
  AND (w.holder IS NULL OR w.held_until < clock_timestamp()
       OR NOT EXISTS (SELECT FROM executors e WHERE e.id = w.holder))
  AND (EXISTS (SELECT FROM events e WHERE e.owner_id = w.owner_id AND e.id > w.reached AND e.id <= settled.id)
       OR EXISTS (SELECT FROM webhook_waiting q WHERE q.owner_id = w.owner_id AND q.webhook_id = w.id
                  AND q.next_at <= clock_timestamp()))
ORDER BY w.next_at, w.id LIMIT %s
"""
_CLAIM: Final = """
UPDATE webhooks w
SET holder = %s, held_until = clock_timestamp() + make_interval(secs => %s), fence = fence + 1
WHERE id IN (SELECT id FROM webhooks WHERE id = ANY(%s) FOR UPDATE SKIP LOCKED)
  AND status = 'enabled' AND next_at <= clock_timestamp()
  AND (holder IS NULL OR held_until < clock_timestamp() OR NOT EXISTS (SELECT FROM executors e WHERE e.id = w.holder))
RETURNING owner_id, id, url, types, secret, previous_secret, previous_until, reached, failures, fence,
          last_success_at
"""

# A holder's last word; a fence that has grown meanwhile says that it is not the holder any more.
_STATE: Final = """
WITH before AS (
    SELECT id, CASE WHEN %(gone)s THEN 'gone'
                    WHEN %(failed)s AND NOT %(succeeded)s
                         AND failing_since < clock_timestamp() - make_interval(secs => %(span)s) THEN 'failing'
               END AS ends
    FROM webhooks WHERE owner_id = %(owner)s AND id = %(id)s AND fence = %(fence)s FOR UPDATE
)
UPDATE webhooks w
SET reached = %(reached)s, failures = %(failures)s,
    failing_since = CASE WHEN %(succeeded)s THEN NULL
                         WHEN %(failed)s THEN coalesce(w.failing_since, clock_timestamp())
                         ELSE w.failing_since END,
    last_success_at = CASE WHEN %(succeeded)s THEN clock_timestamp() ELSE w.last_success_at END,
    next_at = clock_timestamp() + make_interval(secs => %(next)s),
    holder = CASE WHEN %(release)s THEN NULL ELSE w.holder END,
    held_until = CASE WHEN %(release)s THEN NULL ELSE clock_timestamp() + make_interval(secs => %(held)s) END,
    status = CASE WHEN before.ends IS NULL THEN w.status ELSE 'disabled' END,
    disabled_why = coalesce(before.ends, w.disabled_why),
    disabled_at = CASE WHEN before.ends IS NULL THEN w.disabled_at ELSE clock_timestamp() END
FROM before WHERE w.owner_id = %(owner)s AND w.id = before.id
RETURNING before.ends
"""
_WAIT: Final = """
INSERT INTO webhook_waiting AS q (owner_id, webhook_id, event_id, lane, tries, failed_at, next_at)
SELECT %(owner)s, %(id)s, event_id, lane, tries, CASE WHEN failed THEN clock_timestamp() END,
       clock_timestamp() + make_interval(secs => wait_s)
FROM unnest(%(events)s::bigint[], %(lanes)s::uuid[], %(tries)s::int[], %(failed)s::bool[],
            %(waits)s::float8[]) AS given(event_id, lane, tries, failed, wait_s)
ON CONFLICT (owner_id, webhook_id, event_id) DO UPDATE
SET tries = excluded.tries, failed_at = coalesce(q.failed_at, excluded.failed_at),
    next_at = excluded.next_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An endpoint in the hands of this process; `sealed` has its secrets, encrypted."""

    owner_id: UUID
    id: UUID
    url: str
    types: list[str]
    sealed: Mapping[str, Any] = field(repr=False)
    reached: int
    failures: int
    fence: int
    last_success_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An event that an endpoint is due; `is_new` says that it does not wait in the table yet."""

    event: Event
    lane: UUID
    is_new: bool
    tries: int = 0
    failed_at: datetime | None = None
    is_old: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What an endpoint is due now: by lane, in order; and what must wait behind others, for so many seconds.

    `lost` are events that waited and are no more. `more` says that this is not all.
    """

    lanes: dict[UUID, list[Item]]
    behind: list[tuple[Item, float]]
    lost: list[int]
    reached: int
    more: bool
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of an event: it was posted, or not come to; failed, it is tried again after `wait_s`, or given up."""

    item: Item
    posted: Posted | None
    wait_s: float = 0.0
    given_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a round came to: the endpoint's own state after it."""

    reached: int
    failures: int
    next_s: float
    succeeded: bool
    failed: bool
    gone: bool
    release: bool


async def claim(platform: Connection, *, holder: str, in_hand: Mapping[str, int], slots: int, free: int) -> list[Held]:
    """Take hold of endpoints that are due, in shares of their owners (`fair`), longest waiting first."""
    rows = await (await platform.execute(_DUE, [_LOOKED_AT])).fetchall()
    if not rows:
        return []
    waiting: dict[str, int] = {}
    for row in rows:
        waiting[row["owner"]] = waiting.get(row["owner"], 0) + 1
    given = allot(waiting, in_hand, slots, free=free)
    chosen = []
    for row in rows:
        if given.get(row["owner"], 0) > 0:
            given[row["owner"]] -= 1
            chosen.append(row["id"])
    taken = await (await platform.execute(_CLAIM, [holder, HELD_S, chosen])).fetchall()
    return [
        Held(
            owner_id=row["owner_id"],
            id=row["id"],
            url=row["url"],
            types=row["types"],
            sealed={name: row[name] for name in ("id", "secret", "previous_secret", "previous_until")},
            reached=row["reached"],
            failures=row["failures"],
            fence=row["fence"],
            last_success_at=row["last_success_at"],
        )
        for row in taken
    ]


async def due(scope: Scope, held: Held, *, most: int) -> Due:
    """What the endpoint is due: `most` of what waits and `most` of what is new, in the order in which it happened."""
    lanes = await _lanes(scope, held)
    ready = [lane for lane, row in lanes.items() if row["in_s"] <= 0]
    found, lost = await _waiting(scope, held, ready, most)
    read = len(found) + len(lost)
    loaded: dict[UUID, int] = {}
    for one in found:
        loaded[one.lane] = loaded.get(one.lane, 0) + 1
    behind: list[tuple[Item, float]] = []
    full = sum(row["n"] for row in lanes.values()) >= WAITING_MOST
    page = [] if full else await events.page(scope, after=held.reached, limit=most)
    for event in page:
        if not payload.wanted(held.types, payload.type_of(event)):
            continue
        item = Item(event=event, lane=event.conversation_id or NO_LANE, is_new=True)
        before = lanes.get(item.lane)
        if before is not None and loaded.get(item.lane, 0) + _of(lost, item.lane) < before["n"]:
            behind.append((item, max(0.0, before["in_s"])))
        else:
            found.append(item)
    by_lane: dict[UUID, list[Item]] = {}
    for one in found:
        by_lane.setdefault(one.lane, []).append(one)
    return Due(
        lanes=by_lane,
        behind=behind,
        lost=[event_id for event_id, _ in lost],
        reached=page[-1].id if page else held.reached,
        more=most in (len(page), read),
        idle_s=min((max(0.5, row["in_s"]) for row in lanes.values()), default=0.5) if full else 0.5,
    )


async def _lanes(scope: Scope, held: Held) -> dict[UUID, dict[str, Any]]:
    """The lanes in which something waits: how much, and in how many seconds its head is due."""
    cursor = await scope.conn.execute(
        """
        SELECT lane, count(*) AS n,
               extract(epoch FROM (array_agg(next_at ORDER BY event_id))[1] - clock_timestamp())::float8 AS in_s
        FROM webhook_waiting WHERE owner_id = %s AND webhook_id = %s GROUP BY lane
        """,
        [scope.owner_id, held.id],
    )
    return {row["lane"]: row for row in await cursor.fetchall()}


def _of(lost: Sequence[tuple[int, UUID]], lane: UUID) -> int:
    return sum(1 for _, one in lost if one == lane)


async def _waiting(
    scope: Scope, held: Held, lanes: Sequence[UUID], most: int
) -> tuple[list[Item], list[tuple[int, UUID]]]:
    """What waits in these lanes, those first that were tried least, and what waited and is no more."""
    cursor = await scope.conn.execute(
        """
        SELECT q.event_id, q.lane, q.tries, q.failed_at,
               q.failed_at < clock_timestamp() - make_interval(secs => %(span)s) AS is_old,
               e.id, e.at, e.step, e.what, e.conversation_id, e.message_id, e.correlation_id, e.data
        FROM (SELECT lane, max(tries) AS tries FROM webhook_waiting
              WHERE owner_id = %(owner)s AND webhook_id = %(id)s AND lane = ANY(%(lanes)s) GROUP BY lane) first
        JOIN webhook_waiting q ON q.owner_id = %(owner)s AND q.webhook_id = %(id)s AND q.lane = first.lane
        LEFT JOIN events e ON e.owner_id = q.owner_id AND e.id = q.event_id
        ORDER BY first.tries, first.lane, q.event_id LIMIT %(most)s
        """,
        {"owner": scope.owner_id, "id": held.id, "lanes": list(lanes), "most": most, "span": SPAN_S},
    )
    found, lost = [], []
    for row in await cursor.fetchall():
        if row["id"] is None:
            lost.append((row["event_id"], row["lane"]))
            continue
        columns = ("id", "at", "step", "what", "conversation_id", "message_id", "correlation_id", "data")
        found.append(
            Item(
                event=Event(**{name: row[name] for name in columns}),
                lane=row["lane"],
                is_new=False,
                tries=row["tries"],
                failed_at=row["failed_at"],
                is_old=bool(row["is_old"]),
            )
        )
    return found, lost


async def keep(scope: Scope, held: Held, due: Due, results: Sequence[Result], verdict: Verdict) -> bool:
    """Write down what a round came to; False, and nothing is written, when the endpoint is in other hands by now."""
    if not await _keep_state(scope, held, verdict):
        return False
    done = [one for one in results if one.given_up or (one.posted is not None and one.posted.delivered)]
    gone = [one.item.event.id for one in done if not one.item.is_new] + due.lost
    if gone:
        await scope.conn.execute(
            "DELETE FROM webhook_waiting WHERE owner_id = %s AND webhook_id = %s AND event_id = ANY(%s)",
            [scope.owner_id, held.id, gone],
        )
    await _keep_waiting(scope, held, due, [one for one in results if one not in done])
    for why, ids in (
        ("refused", [one.item.event.id for one in results if one.given_up]),
        ("deleted", due.lost),
    ):
        for event_id in ids:
            await happened(scope, "webhooks", "lost", webhook_id=str(held.id), event_id=str(event_id), why=why)
    tried = [(one.item.event.id, payload.type_of(one.item.event), one.posted) for one in results if one.posted]
    await attempted(scope, held.id, tried)
    return True


async def _keep_state(scope: Scope, held: Held, verdict: Verdict) -> bool:
    cursor = await scope.conn.execute(
        _STATE,
        {
            "owner": scope.owner_id,
            "id": held.id,
            "fence": held.fence,
            "span": SPAN_S,
            "held": HELD_S,
            "reached": verdict.reached,
            "failures": verdict.failures,
            "next": verdict.next_s,
            "succeeded": verdict.succeeded,
            "failed": verdict.failed,
            "gone": verdict.gone,
            "release": verdict.release,
        },
    )
    row = await cursor.fetchone()
    if row is None:
        return False
    if row["ends"] is not None:
        await happened(scope, "webhooks", "disabled", webhook_id=str(held.id), why=row["ends"])
    return True


async def _keep_waiting(scope: Scope, held: Held, due: Due, left: Sequence[Result]) -> None:
    """What is tried again, and what waits behind it."""
    waits: dict[UUID, float] = {}
    for one in left:
        if one.posted is not None:
            waits[one.item.lane] = one.wait_s
    rows = [
        (one.item, one.item.tries + (one.posted is not None), one.posted is not None, waits.get(one.item.lane, 0.0))
        for one in left
    ] + [(item, 0, False, max(wait_s, waits.get(item.lane, 0.0))) for item, wait_s in due.behind]
    # What waits already and was not come to stays as it is, but for its turn: see below.
    rows = [row for row in rows if row[0].is_new or row[2]]
    if rows:
        await scope.conn.execute(
            _WAIT,
            {
                "owner": scope.owner_id,
                "id": held.id,
                "events": [item.event.id for item, *_ in rows],
                "lanes": [item.lane for item, *_ in rows],
                "tries": [tries for _, tries, *_ in rows],
                "failed": [failed for *_, failed, _ in rows],
                "waits": [wait_s for *_, wait_s in rows],
            },
        )
    if waits:
        # A lane is due when its head is: nothing behind it may say otherwise.
        await scope.conn.execute(
            """
            UPDATE webhook_waiting q SET next_at = clock_timestamp() + make_interval(secs => given.wait_s)
            FROM unnest(%s::uuid[], %s::float8[]) AS given(lane, wait_s)
            WHERE q.owner_id = %s AND q.webhook_id = %s AND q.lane = given.lane
            """,
            [list(waits), list(waits.values()), scope.owner_id, held.id],
        )


async def attempted(scope: Scope, webhook_id: UUID, tried: Sequence[tuple[int | None, str, Posted]]) -> None:
    """Keep what was tried, in order; of an endpoint only the last few."""
    tried = tried[-SHOWN:]
    if not tried:
        return
    await scope.conn.execute(
        """
        INSERT INTO webhook_attempts (owner_id, id, webhook_id, event_id, type, duration_ms, outcome, http_status)
        SELECT %s, id, %s, event_id, type, duration_ms, outcome, http_status
        FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::int[], %s::text[], %s::smallint[])
             AS given(id, event_id, type, duration_ms, outcome, http_status)
        """,
        [
            scope.owner_id,
            webhook_id,
            [new_id() for _ in tried],
            [event_id for event_id, _, _ in tried],
            [type_ for _, type_, _ in tried],
            [posted.duration_ms for *_, posted in tried],
            [posted.outcome for *_, posted in tried],
            [posted.http_status for *_, posted in tried],
        ],
    )
    await scope.conn.execute(
        """
        DELETE FROM webhook_attempts WHERE owner_id = %(owner)s AND webhook_id = %(id)s AND id < (
            SELECT min(id::text)::uuid FROM (SELECT id FROM webhook_attempts WHERE owner_id = %(owner)s
                AND webhook_id = %(id)s ORDER BY id DESC LIMIT %(shown)s) newest)
        """,
        {"owner": scope.owner_id, "id": webhook_id, "shown": SHOWN},
    )


async def let_go(scope: Scope, held: Held, *, next_s: float) -> None:
    """Give the endpoint back without a word about it, to be looked at again after `next_s`."""
    await scope.conn.execute(
        """
        UPDATE webhooks SET holder = NULL, held_until = NULL, next_at = clock_timestamp() + make_interval(secs => %s)
        WHERE owner_id = %s AND id = %s AND fence = %s
        """,
        [next_s, scope.owner_id, held.id, held.fence],
    )
