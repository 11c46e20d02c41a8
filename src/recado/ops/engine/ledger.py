"""What runs come to, written for many at once: steps and outcomes, in the rows that DBOS has for them.

DBOS runs each workflow through a thread of its own pool for every word with its database: the statuses that it fetches
again, each step's two transactions, each outcome. Half of what a turn cost was that. What a claim has read is enough
to run it, and steps and outcomes go over one connection, as many in a transaction as have gathered while the one
before was written: nobody waits for a timer. The rows are DBOS's own and mean what they mean to it: the owner's token
decides whose word counts, a step is recorded before the next thing is done, and whatever has no outcome is recovered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from dbos._serialization import DBOSDefaultSerializer, DBOSPortableJSON, deserialize_value

from recado.db.pool import PASSING, Connection, renew_plans

log = structlog.get_logger(__name__)

#: So many are written in one transaction at most.
MOST: Final = 256
PORTABLE: Final = DBOSPortableJSON.name()

#: The database's clock, as the engine's rows have it.
NOW_MS: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

#: The version of a workflow that nobody has in hand: the one that began a step of it, which knows what that came to;
#: without a step it is anybody's.
BEGUN_BY: Final = """(
    SELECT workflow_status.application_version WHERE EXISTS (
        SELECT FROM dbos.operation_outputs o WHERE o.workflow_uuid = workflow_status.workflow_uuid))
"""

# No work of ours has a result, so one that ended well has no row in `workflow_output`.
_END: Final = f"""
WITH ended AS (
    UPDATE dbos.workflow_status w
    SET status = given.status, deduplication_id = NULL, owner_xid = NULL, updated_at = {NOW_MS},
        completed_at = {NOW_MS}
    FROM unnest(%(ids)s::text[], %(xids)s::text[], %(states)s::text[], %(errors)s::text[])
         AS given(id, xid, status, error)
    WHERE w.workflow_uuid = given.id AND w.status = 'PENDING' AND w.owner_xid = given.xid
    RETURNING w.workflow_uuid, given.error
), why AS (
    INSERT INTO dbos.workflow_output (workflow_uuid, error)
    SELECT workflow_uuid, error FROM ended WHERE error IS NOT NULL
    ON CONFLICT (workflow_uuid) DO UPDATE SET output = NULL, error = excluded.error
)
SELECT workflow_uuid AS id FROM ended
"""  # noqa: S608 - constants

# The row of its workflow is locked, so that it can't be handed on between the look at its token and the commit.
_STEP: Final = f"""
WITH mine AS (
    SELECT given.* FROM unnest(%(ids)s::text[], %(xids)s::text[], %(numbers)s::int[], %(names)s::text[],
                               %(outputs)s::text[], %(begun)s::bigint[], %(ended)s::bigint[])
                        AS given(id, xid, number, name, output, begun, ended)
    JOIN dbos.workflow_status w ON w.workflow_uuid = given.id AND w.owner_xid = given.xid AND w.status = 'PENDING'
    FOR NO KEY UPDATE OF w
)
INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output, serialization,
    started_at_epoch_ms, completed_at_epoch_ms, application_name, retention_timestamp)
SELECT id, number, name, output, '{PORTABLE}', begun, ended, %(app)s, {NOW_MS} FROM mine
ON CONFLICT (workflow_uuid, function_id) DO UPDATE SET output = operation_outputs.output
RETURNING workflow_uuid AS id
"""  # noqa: S608 - constants

_RECORDED: Final = """
SELECT output, error, serialization, function_name FROM dbos.operation_outputs
WHERE workflow_uuid = %s AND function_id = %s
"""


class Superseded(Exception):
    """The workflow is another run's: what this one says of it does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim has read of a workflow; `xid` says whose it is, `waited_ms` how long it had been due."""

    workflow_id: str
    xid: str
    queue: str
    lane: str
    name: str
    inputs: str
    serialization: str | None
    claims: int
    has_steps: bool
    waited_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    run: Claimed
    status: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    run: Claimed
    number: int
    name: str
    output: str
    begun_ms: int
    ended_ms: int


@dataclass(slots=True)
class Ledger:
    """Where steps and outcomes are written; it waits out a database that is away."""

    connect: Callable[[], Awaitable[Connection]]
    app: str = "recado"
    _waiting: list[tuple[_Ending | _Step, asyncio.Future[bool]]] = field(default_factory=list)
    _conn: Connection | None = None
    _writing: asyncio.Task[None] | None = None

    async def end(self, run: Claimed, status: str, *, error: str | None = None) -> bool:
        """The workflow has ended so; whether that was still this run's to say."""
        return await self._written(_Ending(run=run, status=status, error=error))

    async def step(self, run: Claimed, number: int, name: str, output: str, *, begun_ms: int) -> bool:
        """The step came to that; whether that was still this run's to say. A crash from now on does not repeat it."""
        now_ms = int(time.time() * 1000)
        return await self._written(
            _Step(run=run, number=number, name=name, output=output, begun_ms=begun_ms, ended_ms=now_ms)
        )

    async def recorded(self, run: Claimed, number: int, name: str) -> dict[str, Any] | None:
        """What the step came to in a run before this one, if that was recorded."""
        while True:
            try:
                async with await self.connect() as conn:
                    found = await (await conn.execute(_RECORDED, [run.workflow_id, number])).fetchone()
            except PASSING as error:
                log.warning("database_unavailable", task="engine", error=type(error).__name__)
                await asyncio.sleep(0.5)
            else:
                break
        if found is None or found["function_name"] != name or found["output"] is None:
            return None
        output, serialization = found["output"], found["serialization"]
        result: dict[str, Any] | None = deserialize_value(output, serialization, DBOSDefaultSerializer)
        return result

    async def _written(self, entry: _Ending | _Step) -> bool:
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, told))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="ledger")
        return await told

    async def _write(self) -> None:
        while self._waiting:
            batch = [one for one in self._waiting[:MOST] if not one[1].cancelled()]
            del self._waiting[:MOST]
            if not batch:
                continue
            try:
                await self._settle(batch)
            except Exception:
                for one in batch:  # what is wrong with one of them is nobody else's
                    try:
                        await self._settle([one])
                    except Exception as error:
                        if not one[1].done():
                            one[1].set_exception(error)

    async def _settle(self, batch: Sequence[tuple[_Ending | _Step, asyncio.Future[bool]]]) -> None:
        pause_s = 0.1
        while True:
            try:
                landed = await self._transaction([entry for entry, _ in batch])
            except PASSING as error:
                await self._drop()
                log.warning("database_unavailable", task="engine", error=type(error).__name__, retry_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 5.0)
            else:
                break
        for entry, told in batch:
            if not told.done():
                told.set_result((type(entry), entry.run.workflow_id) in landed)

    async def _transaction(self, entries: Sequence[_Ending | _Step]) -> set[tuple[type, str]]:
        if self._conn is None or self._conn.closed:
            self._conn = await self.connect()
        await renew_plans(self._conn)
        steps = [entry for entry in entries if isinstance(entry, _Step)]
        ends = [entry for entry in entries if isinstance(entry, _Ending)]
        landed: set[tuple[type, str]] = set()
        if steps and ends:
            async with self._conn.transaction():
                landed |= await self._steps(self._conn, steps)
                landed |= await self._ends(self._conn, ends)
        else:  # in autocommit: one round trip
            landed |= await self._steps(self._conn, steps) if steps else await self._ends(self._conn, ends)
        return landed

    async def _steps(self, conn: Connection, steps: Sequence[_Step]) -> set[tuple[type, str]]:
        cursor = await conn.execute(
            _STEP,
            {
                "ids": [one.run.workflow_id for one in steps],
                "xids": [one.run.xid for one in steps],
                "numbers": [one.number for one in steps],
                "names": [one.name for one in steps],
                "outputs": [one.output for one in steps],
                "begun": [one.begun_ms for one in steps],
                "ended": [one.ended_ms for one in steps],
                "app": self.app,
            },
        )
        return {(_Step, row["id"]) for row in await cursor.fetchall()}

    async def _ends(self, conn: Connection, ends: Sequence[_Ending]) -> set[tuple[type, str]]:
        cursor = await conn.execute(
            _END,
            {
                "ids": [one.run.workflow_id for one in ends],
                "xids": [one.run.xid for one in ends],
                "states": [one.status for one in ends],
                "errors": [one.error for one in ends],
            },
        )
        return {(_Ending, row["id"]) for row in await cursor.fetchall()}

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()

    async def aclose(self) -> None:
        """Write nothing more; what waited for it has no outcome, and is recovered."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing], timeout=0.5)
        await self._drop()
