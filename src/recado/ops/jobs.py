"""Jobs: what has to happen at a time, once over all workers, and no process of its own for it.

A job is a row with the moment at which it is due. Any worker takes it, and who took it is written there: while that
executor lives, no other runs it. The next moment is written when it has ended, so a run that a death cuts short is run
again, and however many moments were missed while nobody worked, it is run once. What is looked for each few seconds
because somebody waits for it is a sweep (`sweeps`), not a job.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from datetime import time as time_of_day
from typing import Any, Final, Literal

import structlog

from recado.db.pool import PASSING, Connection, Pool
from recado.errors import RecadoError
from recado.ops.retention import EVERY_S, SWEEP_S
from recado.ops.schedules import Daily, Every, Schedule
from recado.stopping import end

log = structlog.get_logger(__name__)

#: How often it is looked for jobs that are due, and how many one worker runs at once.
LOOK_S: Final = 5.0
AT_ONCE: Final = 2
#: What failed is tried again after a minute, then after twice as long each time, an hour at most; no later than due.
FIRST_S, LONGEST_S = 60.0, 3600.0
#: A job at whose run a worker died so often waits in the same way: it may be what kills them.
DEATHS: Final = 2
#: A holder that lives and does not end its job within the bound has lost it.
GRACE_S: Final = 60.0

Outcome = Literal["done", "failed", "too_long"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is done at its times; a run that takes longer than `bound_s` is ended. New, it runs after `first_s`."""

    name: str
    what: str
    schedule: Schedule
    bound_s: float = 600.0
    first_s: float = 10.0


#: All there are; what each does is given to the workers by name.
JOBS: Final = (
    Job(
        name="finished_workflows",
        what="Deletes what the engine keeps of work that ended days ago.",
        schedule=Every(seconds=EVERY_S),
    ),
    Job(
        name="sign_ins",
        what="Deletes sessions and counts of sign-ins that nobody asks about.",
        schedule=Every(seconds=EVERY_S),
    ),
    Job(
        name="kept_answers",
        what="Deletes answers kept for an Idempotency-Key, after a day.",
        schedule=Every(seconds=EVERY_S),
    ),
    Job(
        name="periods",
        what="Deletes what owners keep no longer than their periods say.",
        schedule=Every(seconds=EVERY_S),
    ),
    Job(
        name="attachments",
        what="Deletes files that no message has any more.",
        schedule=Every(seconds=SWEEP_S),
        first_s=SWEEP_S,
    ),
    Job(
        name="webhook_secrets",
        what="Deletes secrets of webhooks that were replaced and sign no more.",
        schedule=Every(seconds=3600.0),
    ),
    Job(
        name="templates",
        what="Fetches every Twilio account's templates and their approvals.",
        schedule=Daily(at=time_of_day(4, 0)),
        bound_s=1800.0,
    ),
)

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a job stands: `running_since` while it runs, and what its last run came to."""

    name: str
    next_at: datetime
    asked_at: datetime | None
    running_since: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    outcome: Outcome | None
    error: str | None
    duration_ms: int | None
    failures: int


_CLAIM: Final = """
UPDATE jobs SET holder = %(holder)s, fence = fence + 1, started_at = clock_timestamp(), asked_at = NULL,
    deaths = CASE WHEN holder IS NULL THEN 0 ELSE deaths + 1 END,
    held_until = clock_timestamp() + make_interval(secs => (%(bounds)s::jsonb ->> name)::float8)
WHERE name = (
    SELECT j.name FROM jobs j
    WHERE j.name = ANY(%(names)s) AND (j.next_at <= clock_timestamp() OR j.asked_at IS NOT NULL)
      AND (j.holder IS NULL OR (j.held_until < clock_timestamp()
               OR NOT EXISTS (SELECT FROM executors e WHERE e.id = j.holder))
           AND (j.deaths < %(deaths)s OR j.asked_at IS NOT NULL
                OR j.started_at < clock_timestamp() - make_interval(
                       secs => least(%(longest)s, %(first)s * 2 ^ least(j.deaths, 20)))))
    ORDER BY j.next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING name, fence
"""


async def known(platform: Connection, jobs: Sequence[Job], zone: tzinfo) -> None:
    """Have a row for each job; one whose time comes sooner now than it was written down comes sooner."""
    now = await _now(platform)
    for job in jobs:
        first = Every(seconds=job.first_s) if isinstance(job.schedule, Every) else job.schedule
        await platform.execute(
            """
            INSERT INTO jobs AS j (name, next_at) VALUES (%s, %s)
            ON CONFLICT (name) DO UPDATE SET next_at = least(j.next_at, %s) WHERE j.next_at > %s AND j.failures = 0
            """,
            [job.name, first.next(now, zone), job.schedule.next(now, zone), job.schedule.next(now, zone)],
        )


async def claim(platform: Connection, jobs: Sequence[Job], *, holder: str) -> tuple[Job, int] | None:
    """Take one job that is due, with the fence under which it is this holder's; None when none is."""
    by_name = {job.name: job for job in jobs}
    row = await (
        await platform.execute(
            _CLAIM,
            {
                "holder": holder,
                "names": list(by_name),
                "bounds": "{" + ", ".join(f'"{job.name}": {job.bound_s + GRACE_S}' for job in jobs) + "}",
                "deaths": DEATHS,
                "first": FIRST_S,
                "longest": LONGEST_S,
            },
        )
    ).fetchone()
    return None if row is None else (by_name[row["name"]], row["fence"])


async def keep(
    platform: Connection, job: Job, fence: int, *, outcome: Outcome, error: str | None, duration_s: float, zone: tzinfo
) -> bool:
    """Write down what a run came to, and when the next is; False when it was another's to say by then."""
    now = await _now(platform)
    cursor = await platform.execute(
        """
        UPDATE jobs SET holder = NULL, held_until = NULL, deaths = 0, finished_at = clock_timestamp(),
            outcome = %(outcome)s, error = %(error)s, duration_ms = %(duration)s,
            failures = CASE WHEN %(outcome)s = 'done' THEN 0 ELSE failures + 1 END,
            next_at = CASE WHEN %(outcome)s = 'done' THEN %(next)s ELSE
                least(%(next)s, clock_timestamp() + make_interval(
                    secs => least(%(longest)s, %(first)s * 2 ^ least(failures, 20)))) END
        WHERE name = %(name)s AND fence = %(fence)s
        """,
        {
            "outcome": outcome,
            "error": error,
            "duration": round(duration_s * 1000),
            "next": job.schedule.next(now, zone),
            "first": FIRST_S,
            "longest": LONGEST_S,
            "name": job.name,
            "fence": fence,
        },
    )
    return bool(cursor.rowcount)


async def give_back(platform: Connection, job: Job, fence: int) -> None:
    """A run was cut short by a stop: any worker may run it again, at once."""
    await platform.execute(
        "UPDATE jobs SET holder = NULL, held_until = NULL WHERE name = %s AND fence = %s", [job.name, fence]
    )


async def ask(platform: Connection, name: str) -> None:
    """Have the job run now, or once more when it runs already."""
    await platform.execute("UPDATE jobs SET asked_at = clock_timestamp() WHERE name = %s", [name])


async def states(platform: Connection) -> dict[str, State]:
    """Where each job stands, by name; those of other versions too."""
    cursor = await platform.execute(
        """
        SELECT name, next_at, asked_at, CASE WHEN holder IS NOT NULL THEN started_at END AS running_since, started_at,
               finished_at, outcome, error, duration_ms, failures
        FROM jobs ORDER BY name
        """
    )
    return {row["name"]: State(**row) for row in await cursor.fetchall()}


async def somebody_works(platform: Connection) -> bool:
    """Whether an executor lives: its lock is held."""
    row = await (
        await platform.execute(
            """
            SELECT EXISTS (SELECT FROM executors e JOIN pg_locks l ON l.locktype = 'advisory' AND l.granted
                AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = e.lock_key) AS there
            """
        )
    ).fetchone()
    return row is not None and bool(row["there"])


async def _now(platform: Connection) -> datetime:
    row = await (await platform.execute("SELECT clock_timestamp() AS now")).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM
    now: datetime = row["now"]
    return now


@dataclass(slots=True, kw_only=True)
class Jobs:
    """A worker's part in it: runs what is due until it is cancelled, and gives back what it had then."""

    platform: Pool
    holder: str
    works: Mapping[str, Work]
    zone: tzinfo
    jobs: Sequence[Job] = JOBS
    look_s: float = LOOK_S
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Look, and run. What fails is written down and tried again; the others know nothing of it."""
        mine = [job for job in self.jobs if job.name in self.works]
        there = False
        try:
            while True:
                try:
                    async with self.platform.connection() as conn:
                        if not there:
                            await known(conn, mine, self.zone)
                            there = True
                        while len(self._running) < AT_ONCE and (taken := await claim(conn, mine, holder=self.holder)):
                            task = asyncio.create_task(self._do(*taken), name=f"job-{taken[0].name}")
                            self._running.add(task)
                            task.add_done_callback(self._running.discard)
                except PASSING as error:
                    log.warning("database_unavailable", task="jobs", error=type(error).__name__)
                except Exception:
                    log.exception("jobs_failed", task="jobs")
                await asyncio.sleep(self.look_s)
        finally:
            await end(*self._running, within_s=1.5)

    async def _do(self, job: Job, fence: int) -> None:
        began = time.monotonic()
        outcome: Outcome = "done"
        error: str | None = None
        try:
            async with asyncio.timeout(job.bound_s) as bound:
                await self.works[job.name]()
        except asyncio.CancelledError:
            async with asyncio.timeout(1), self.platform.connection() as conn:
                await give_back(conn, job, fence)
            raise
        except Exception as failure:
            outcome = "too_long" if bound.expired() else "failed"
            # What is not ours to say may hold anything.
            error = str(failure) if isinstance(failure, RecadoError) else type(failure).__name__
            if outcome == "too_long":
                error = f"longer than {job.bound_s:.0f} s"
                log.warning("job_too_long", task=job.name, bound_s=job.bound_s)
            else:
                log.exception("job_failed", task=job.name)
        await self._keep(job, fence, outcome, error, time.monotonic() - began)

    async def _keep(self, job: Job, fence: int, outcome: Outcome, error: str | None, duration_s: float) -> None:
        given: dict[str, Any] = {"outcome": outcome, "error": error, "duration_s": duration_s, "zone": self.zone}
        while True:
            try:
                async with self.platform.connection() as conn:
                    await keep(conn, job, fence, **given)
            except PASSING as failure:
                log.warning("database_unavailable", task=job.name, error=type(failure).__name__)
                await asyncio.sleep(self.look_s)
            else:
                return
