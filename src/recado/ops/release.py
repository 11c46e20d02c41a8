"""Releases: which versions of the workflows have workers, which take new work, and what waits for one of them.

Work that was enqueued is anybody's until it has begun a step; from then on its version's, whose code knows what the
step's result means. So while a release is replaced workers of both take new work, in shares by their number (a canary
is a slice of them). `promote` ends that: versions beside the promoted one *drain*, which is that they take nothing new
and finish what they have begun; once nothing is left their workers may go. Going back promotes the version before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from recado.clock import Clock
from recado.db.pool import Connection
from recado.errors import Conflict, NotFound
from recado.ops.health import ALIVE

log = structlog.get_logger(__name__)

#: How often a drain is looked at, and how long a worker of 0.1.0, which says nothing, may take to know of it.
LOOK: Final = timedelta(seconds=0.5)
SILENT: Final = timedelta(seconds=6)
#: Work is nobody's for a moment when it has just come; after this it is said.
UNSERVED_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of the workflows: its live workers and their releases, and the work that is its own by now."""

    version: str
    draining: bool
    workers: int
    #: Those of its live workers that have not yet said that they take nothing new, although they should.
    unheard: int
    releases: Sequence[str]
    waiting: int
    in_work: int

    @property
    def begun(self) -> int:
        """What only a worker of this version may finish, or has in hand."""
        return self.waiting + self.in_work


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All versions that have workers, work or a say; and the work that is any version's."""

    versions: Sequence[Version]
    new: int
    new_s: int

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What stands still, and what to do about it."""
        found = [
            (
                f"{one.waiting} begun by version {one.version} of the workflows, which has no live worker",
                f"start a worker of that version, or have it begun again: `recado release adopt {one.version}`",
            )
            for one in self.versions
            if one.waiting and not one.workers
        ]
        if self.new and self.new_s >= UNSERVED_S and not any(one.workers and not one.draining for one in self.versions):
            fix = (
                "`recado release promote` a version that has live workers, or start workers of one that does not drain"
            )
            found.append((f"{self.new} that no live worker takes: every version that has one drains", fix))
        return found


_VERSIONS: Final = f"""
WITH live AS (
    SELECT e.version, count(*) AS workers, count(*) FILTER (WHERE e.recado IS NULL OR NOT e.draining) AS unheard,
           array_agg(DISTINCT coalesce(e.recado, '0.1.0')) AS releases
    FROM executors e WHERE {ALIVE} GROUP BY e.version
), work AS (
    SELECT version, sum(amount) FILTER (WHERE status = 'ENQUEUED')::int AS waiting,
           sum(amount) FILTER (WHERE status = 'PENDING')::int AS in_work
    FROM work_stands() WHERE version IS NOT NULL GROUP BY version
)
SELECT version, coalesce(v.draining, false) AS draining, coalesce(live.workers, 0) AS workers,
       CASE WHEN v.draining THEN coalesce(live.unheard, 0) ELSE 0 END AS unheard,
       coalesce(live.releases, '{{}}') AS releases, coalesce(work.waiting, 0) AS waiting,
       coalesce(work.in_work, 0) AS in_work
FROM workflow_versions v FULL JOIN live USING (version) FULL JOIN work USING (version) ORDER BY version
"""  # noqa: S608 - a constant
_NEW: Final = """
SELECT coalesce(sum(due), 0)::int AS new, coalesce(max(oldest_s), 0)::int AS new_s
FROM work_stands() WHERE status = 'ENQUEUED' AND version IS NULL
"""


async def status(platform: Connection) -> Status:
    """The versions, and what waits; no more than a look."""
    versions = [Version(**row) for row in await (await platform.execute(_VERSIONS)).fetchall()]
    new = await (await platform.execute(_NEW)).fetchone()
    assert new is not None  # noqa: S101 - an aggregate
    return Status(versions=versions, new=new["new"], new_s=new["new_s"])


_PROMOTE: Final = """
INSERT INTO workflow_versions (version, draining)
SELECT version, version <> %(version)s FROM (
    SELECT %(version)s AS version UNION SELECT version FROM executors UNION SELECT version FROM workflow_versions) known
ON CONFLICT (version) DO UPDATE SET draining = excluded.draining, changed_at = now()
    WHERE workflow_versions.draining <> excluded.draining
"""
# What workers of 0.1.0 go by: the newest there takes new work.
_NEWEST: Final = """
UPDATE dbos.application_versions
SET version_timestamp = greatest((extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    (SELECT max(version_timestamp) + 1 FROM dbos.application_versions))
WHERE version_name = %s
"""


async def promote(platform: Connection, engine: Connection, version: str) -> None:
    """Let this version take new work, and every other take none. `engine` works under the workflow engine's role.

    Raises NotFound for a version that nobody ever had, and Conflict for one that has no live worker: nothing would be
    answered.
    """
    found = {one.version: one for one in (await status(platform)).versions}
    if version not in found:
        raise NotFound(f"version {version}: there was never a worker of it; there is {', '.join(found) or 'none'}")
    if not found[version].workers:
        raise Conflict(f"no worker of version {version} lives, so nothing would be answered: start one first")
    await engine.execute(_NEWEST, [version])
    await platform.execute(_PROMOTE, {"version": version})
    log.info("version_promoted", task="release", version=version)


async def drained(
    platform: Connection, clock: Clock, *, within: timedelta, told: Callable[[Status], Awaitable[None]]
) -> bool:
    """Wait until what drains has nothing left: no worker that still takes, nothing begun; whether that came in time.

    `told` is called with each look.
    """
    began = clock.monotonic()
    quiet = 0
    while True:
        found = await status(platform)
        await told(found)
        drain = [one for one in found.versions if one.draining]
        waited_s = clock.monotonic() - began
        heard = all(not one.unheard or set(one.releases) == {"0.1.0"} for one in drain)
        silent = any(one.unheard for one in drain) and waited_s < SILENT.total_seconds()
        # Twice in a row: a claim may have been on its way while the first look found nothing.
        quiet = quiet + 1 if heard and not silent and not any(one.begun for one in drain) else 0
        if quiet == 2:
            return True
        if waited_s >= within.total_seconds():
            return False
        await clock.sleep_until(clock.now() + LOOK)


_ADOPT: Final = """
WITH theirs AS (
    SELECT workflow_uuid FROM dbos.workflow_status
    WHERE application_version = %s AND status = 'ENQUEUED' FOR UPDATE
), gone AS (
    DELETE FROM dbos.operation_outputs o USING theirs WHERE o.workflow_uuid = theirs.workflow_uuid
)
UPDATE dbos.workflow_status w SET application_version = NULL
FROM theirs WHERE w.workflow_uuid = theirs.workflow_uuid
"""


async def adopt(platform: Connection, engine: Connection, version: str) -> int:
    """Have what that version has begun begun again by those that take new work; answers how many workflows.

    As if it had died before its step was recorded: a model is asked again, and nothing is sent twice. Raises NotFound
    for a version that has no work, and Conflict while it has live workers or some of its work is in hand.
    """
    found = {one.version: one for one in (await status(platform)).versions}
    one = found.get(version)
    if one is None or not one.begun:
        raise NotFound(f"version {version} has no work that waits for it")
    if one.workers:
        raise Conflict(f"version {version} has live workers, which finish what it has begun")
    if one.in_work:
        raise Conflict(
            f"dead workers of version {version} are not recovered yet: in some seconds they are, if one lives"
        )
    count = (await engine.execute(_ADOPT, [version])).rowcount
    log.info("version_adopted", task="release", version=version, workflows=count)
    return count
