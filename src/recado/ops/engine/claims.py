"""The workflow engine's queue, claimed in shares.

DBOS takes waiting lanes at random, so an owner with ten thousand conversations drowns one with a single one, and what
waits in a workflow keeps its slot. Here a worker goes round the owners, each in its share (`recado.fair`), and takes
the oldest lane of each first. What has to wait is put back with a time: it stays its lane's head, and nothing of its
lane is taken before it is due. Everything else (order in a lane, recovery, outcomes) is the engine's, untouched.

A lane's name begins with its owner (`recado.lane`). The walk goes from owner to owner and from lane to
lane by seeks in the engine's own index, so it costs by what it looks at, not by what waits; and that is bounded, for
many owners with many lanes each as well.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from recado.fair import allot
from recado.ops.engine.ledger import NOW_MS, Claimed

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dbos._queue import Queue
    from dbos._sys_db import SystemDatabase

#: Lanes that one look goes through: of one owner, of all together, and of each however many owners there are. An owner
#: with more has the next ones looked at by the next look.
LANES, LANES_IN_ALL, LANES_EACH = 256, 1024, 16
#: Owners that one look goes through at least.
OWNERS: Final = 64
#: So long a queue's settings are believed.
SETTINGS_S: Final = 5.0
#: The last name that a lane of an owner can have.
_LAST: Final = ":ffffffff-ffff-ffff-ffff-ffffffffffff"
#: The length of an owner's id, which a lane's name begins with.
_OWNER: Final = 36

_DUE: Final = f"coalesce(w.delay_until_epoch_ms, 0) <= {NOW_MS}"
_OPEN: Final = (
    "w.queue_name = %(queue)s AND w.status = 'ENQUEUED' AND w.queue_partition_key IS NOT NULL "
    "AND (w.application_name = %(app)s OR w.application_name IS NULL)"
)
# What has begun a step is its version's alone; the rest is anybody's who takes new work (`ops/release`).
_OURS: Final = "coalesce(w.application_version = %(version)s, %(takes_new)s)"
_NEXT: Final = f"SELECT min(w.queue_partition_key) FROM dbos.workflow_status w WHERE {_OPEN}"  # noqa: S608
_NOBODY: Final = """
    NOT EXISTS (SELECT FROM dbos.workflow_status p
                WHERE p.queue_name = %(queue)s AND p.status = 'PENDING' AND p.queue_partition_key = {lane})
"""


def _find(*, one_at_a_time: bool) -> str:
    """The statement that finds what may be taken: of each owner the oldest heads of its lanes, and what is in work.

    Where a lane is one at a time it is its head alone, if that is due and this version's to take, and nothing of the
    lane is in work anywhere: a head that is another version's holds up what is behind it.
    """
    head = f"""
        SELECT w.workflow_uuid, w.created_at, {_DUE} AND {_OURS} AS free FROM dbos.workflow_status w
        WHERE {_OPEN} AND w.queue_partition_key = lanes.lane {"" if one_at_a_time else f"AND {_OURS} AND {_DUE}"}
        ORDER BY w.priority, w.created_at, w.workflow_uuid LIMIT %(each)s
    """  # noqa: S608 - constants
    free = f"AND {_NOBODY.format(lane='lanes.lane')}" if one_at_a_time else ""
    return f"""
        WITH RECURSIVE onward(owner) AS (
            SELECT left(({_NEXT} AND w.queue_partition_key > %(after)s), {_OWNER})
            UNION ALL
            SELECT left(({_NEXT} AND w.queue_partition_key > onward.owner || '{_LAST}'), {_OWNER})
            FROM onward WHERE onward.owner IS NOT NULL
        ), again(owner) AS (
            SELECT left(({_NEXT} AND w.queue_partition_key <= %(after)s), {_OWNER})
            UNION ALL
            SELECT left(({_NEXT} AND w.queue_partition_key > again.owner || '{_LAST}'
                         AND w.queue_partition_key <= %(after)s), {_OWNER})
            FROM again WHERE again.owner IS NOT NULL
        ), owners AS MATERIALIZED (
            SELECT owner, row_number() OVER () AS turn FROM (
                SELECT owner FROM onward WHERE owner IS NOT NULL
                UNION ALL SELECT owner FROM again WHERE owner IS NOT NULL
                LIMIT %(owners)s) found
        ), bound AS MATERIALIZED (
            SELECT least({LANES}, greatest({LANES_EACH}, {LANES_IN_ALL} / greatest(count(*), 1))) AS lanes FROM owners
        ), heads AS (
            SELECT owners.owner, owners.turn, head.* FROM owners CROSS JOIN bound CROSS JOIN LATERAL (
                WITH RECURSIVE lanes(lane, number) AS (
                    SELECT ({_NEXT} AND w.queue_partition_key <= owners.owner || '{_LAST}'
                            AND w.queue_partition_key >= coalesce(
                                (SELECT lane FROM unnest(%(at_owner)s::text[], %(at_lane)s::text[]) at(owner, lane)
                                 WHERE at.owner = owners.owner), owners.owner)), 1
                    UNION ALL
                    SELECT ({_NEXT} AND w.queue_partition_key > lanes.lane
                            AND w.queue_partition_key <= owners.owner || '{_LAST}'), number + 1
                    FROM lanes WHERE lane IS NOT NULL AND number <= bound.lanes
                )
                SELECT lanes.lane, max(lanes.number) OVER () > bound.lanes AS more,
                       first_value(lanes.lane) OVER (ORDER BY lanes.number DESC) AS last,
                       found.workflow_uuid, found.created_at
                FROM lanes LEFT JOIN LATERAL (
                    SELECT * FROM ({head}) first WHERE first.free {free}
                ) found ON true
                WHERE lanes.lane IS NOT NULL
                ORDER BY found.created_at, found.workflow_uuid LIMIT %(most)s
            ) head
        )
        SELECT owner, turn, lane, more, last, workflow_uuid, NULL::bigint AS in_work FROM heads
        UNION ALL
        SELECT left(w.queue_partition_key, {_OWNER}), NULL, w.queue_partition_key, NULL, NULL, NULL, count(*)
        FROM dbos.workflow_status w
        WHERE w.queue_name = %(queue)s AND w.status = 'PENDING' AND w.queue_partition_key IS NOT NULL
          AND w.executor_id = %(executor)s AND EXISTS (SELECT FROM owners)
        GROUP BY w.queue_partition_key
    """  # noqa: S608 - constants


def _take(*, one_at_a_time: bool) -> str:
    """The statement that takes them; what another worker was faster with is left out, not replaced by its follower."""
    free = f"AND {_NOBODY.format(lane='w.queue_partition_key')}" if one_at_a_time else ""
    return f"""
        UPDATE dbos.workflow_status t
        SET status = 'PENDING', owner_xid = %(xid)s, application_version = %(version)s, executor_id = %(executor)s,
            application_name = %(app)s, started_at_epoch_ms = {NOW_MS}, updated_at = {NOW_MS}, rate_limited = false,
            delay_until_epoch_ms = NULL, recovery_attempts = coalesce(t.recovery_attempts, 0) + 1
        FROM (
            SELECT w.workflow_uuid, greatest(w.created_at, coalesce(w.delay_until_epoch_ms, 0)) AS due_ms
            FROM dbos.workflow_status w
            WHERE w.workflow_uuid = ANY(%(ids)s) AND {_OPEN} AND {_OURS} AND {_DUE} {free}
            FOR UPDATE SKIP LOCKED) mine
        WHERE t.workflow_uuid = mine.workflow_uuid
        RETURNING t.workflow_uuid, t.queue_partition_key AS lane, t.name, t.serialization,
                  t.recovery_attempts AS claims, t.started_at_epoch_ms - mine.due_ms AS waited_ms,
                  coalesce((SELECT i.inputs FROM dbos.workflow_input i WHERE i.workflow_uuid = t.workflow_uuid),
                           t.inputs) AS inputs,
                  EXISTS (SELECT FROM dbos.operation_outputs o WHERE o.workflow_uuid = t.workflow_uuid) AS has_steps
    """  # noqa: S608 - constants


_FIND: Final = {alone: _find(one_at_a_time=alone) for alone in (True, False)}
_TAKE: Final = {alone: _take(one_at_a_time=alone) for alone in (True, False)}


def ask_less(sys_db: SystemDatabase) -> None:
    """Have the engine's threads read a queue's settings each `SETTINGS_S` instead of at each look for work."""
    known: dict[str, tuple[float, Queue | None]] = {}
    ask = sys_db.get_queue

    def get_queue(name: str, **more: Any) -> Queue | None:
        until, found = known.get(name, (0.0, None))
        if until < time.monotonic():
            found = ask(name, **more)
            known[name] = time.monotonic() + SETTINGS_S, found
        return found

    sys_db.get_queue = get_queue  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Something that may be taken: the due head of a lane, or one of those that a lane may have in work at once."""

    owner: str
    lane: str
    workflow_id: str


@dataclass(slots=True)
class _Place:
    """Where the walk round the owners of a queue is, and round the lanes of an owner who has many."""

    after: str = ""
    lanes: dict[str, str] = field(default_factory=dict)


def choose(
    waiting: list[Waiting], in_work: Mapping[str, int], slots: int, *, free: int, each: int | None = None
) -> list[str]:
    """The ids of those to take now: each owner its share, its oldest first, and of a lane `each` at once if given.

    `waiting` has the owners in the order of their turns and what waits of each in the order of its age; `in_work` is
    how much this worker has of each lane.
    """
    of_owner: Counter[str] = Counter()
    for lane, number in in_work.items():
        of_owner[lane[:_OWNER]] += number
    of_lane = Counter(in_work)
    eligible: dict[str, list[str]] = {}
    for one in waiting:
        of_lane[one.lane] += 1
        if each is None or of_lane[one.lane] <= each:
            eligible.setdefault(one.owner, []).append(one.workflow_id)
    given = allot({owner: len(ids) for owner, ids in eligible.items()}, of_owner, slots, free=free)
    return [workflow_id for owner, ids in eligible.items() for workflow_id in ids[: given.get(owner, 0)]]


def claim_in_shares(
    sys_db: SystemDatabase,
    each: Mapping[str, int],
    start: Callable[[Sequence[Claimed]], list[str]] | None = None,
    *,
    takes_new: Callable[[], bool] = lambda: True,
) -> None:
    """Have the engine take work in shares from now on, and what it takes be run by `start` (`running.Runner`).

    `each` is how much of one lane a worker may have in work at once, for queues whose lanes are not one at a time. The
    method that is replaced is the one that DBOS calls for queues with `partition_concurrency=1`; it runs what that
    answers: without `start` everything, else what `start` leaves to it. `takes_new` says whether work that no version
    has begun is taken too.
    """
    places: dict[str, _Place] = {}

    def start_queued_partitioned_workflows(
        queue: Queue,
        executor_id: str,
        app_version: str,
        max_tasks: int = 1,
        *,
        owner_xid: str | None = None,
        is_latest_version: bool | None = None,
    ) -> list[str]:
        place = places.setdefault(queue.name, _Place())
        with sys_db.engine.begin() as conn:
            told = {
                "queue": queue.name,
                "executor": executor_id,
                "version": app_version,
                "takes_new": takes_new(),
                "app": sys_db.app_name,
                "xid": owner_xid,
            }
            claimed = _claim(
                conn,
                told,
                place,
                slots=queue._worker_concurrency or max_tasks,
                free=max_tasks,
                each=each.get(queue.name),
            )
        if not claimed:
            return []
        return [one.workflow_id for one in claimed] if start is None else start(claimed)

    sys_db.start_queued_partitioned_workflows = start_queued_partitioned_workflows  # type: ignore[method-assign]


def _claim(
    conn: sa.Connection, told: dict[str, Any], place: _Place, *, slots: int, free: int, each: int | None
) -> list[Claimed]:
    owners = max(OWNERS, free)
    rows = conn.exec_driver_sql(
        _FIND[each is None],
        {
            **told,
            "after": place.after,
            "owners": owners,
            "each": each or 1,
            "most": free,
            "at_owner": list(place.lanes),
            "at_lane": list(place.lanes.values()),
        },
    ).fetchall()
    if not rows:
        place.after, place.lanes = "", {}
        return []
    in_work = {row.lane: row.in_work for row in rows if row.in_work is not None}
    found = [row for row in rows if row.in_work is None]
    found.sort(key=lambda row: row.turn)  # stable: of one owner they come by age
    waiting = [
        Waiting(owner=row.owner, lane=row.lane, workflow_id=row.workflow_uuid)
        for row in found
        if row.workflow_uuid is not None
    ]
    free = min(free, slots - sum(in_work.values()))
    chosen = choose(waiting, in_work, slots, free=free, each=each)
    place.after, place.lanes = _onward(found, place, whole=owners)
    if not chosen:
        return []
    taken = {row.workflow_uuid: row for row in conn.exec_driver_sql(_TAKE[each is None], {**told, "ids": chosen})}
    return [
        Claimed(
            workflow_id=workflow_id,
            xid=told["xid"],
            queue=told["queue"],
            lane=row.lane,
            name=row.name,
            inputs=row.inputs,
            serialization=row.serialization,
            claims=row.claims,
            has_steps=row.has_steps,
            waited_ms=row.waited_ms,
        )
        for workflow_id in chosen
        if (row := taken.get(workflow_id)) is not None
    ]


def _onward(found: list[Any], place: _Place, *, whole: int) -> tuple[str, dict[str, str]]:
    """Where the next look begins: behind the first owner of this one, or the last when there were more than it saw.

    Of an owner with more lanes than a look goes through, behind the last lane that was looked at.
    """
    turns = {row.turn: row.owner for row in found}
    after = turns[max(turns)] if len(turns) >= whole else turns[min(turns)]
    lanes = {
        owner: lane
        for owner, lane in place.lanes.items()
        if len(turns) >= whole and owner not in turns.values()  # not looked at this time
    }
    lanes |= {row.owner: row.last for row in found if row.more}
    return after + _LAST, lanes
