"""What was claimed is run here, on the worker's event loop, and ended, put back or left to DBOS."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

import structlog
from dbos import DBOS
from dbos._context import current_owner_xid
from dbos._dbos import _get_dbos_instance
from dbos._serialization import DBOSDefaultSerializer, DBOSPortableJSON, deserialize_args, serialize_exception
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from recado import metrics
from recado.journey.pause import Later
from recado.ops.engine.ledger import BEGUN_BY, NOW_MS, PORTABLE, Claimed, Ledger, Superseded

log = structlog.get_logger(__name__)

Work = Callable[..., Coroutine[Any, Any, None]]

#: Claimed more often than this without an end, it is DBOS's to put aside: its own bound, and the first claim.
CLAIMS: Final = 101

# The claim's token says that it is still this run's: what another has claimed since is not given back.
_PUT_BACK = f"""
UPDATE dbos.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, updated_at = {NOW_MS},
    delay_until_epoch_ms = {NOW_MS} + %(wait_ms)s, recovery_attempts = greatest(recovery_attempts - 1, 0),
    application_version = {BEGUN_BY}
WHERE workflow_uuid = %(id)s AND status = 'PENDING' AND executor_id = %(executor)s AND owner_xid = %(xid)s
"""  # noqa: S608 - constants


class PutBack(BaseException):
    """The run ends here without an outcome: its workflow waits in its lane again."""


@dataclass(slots=True)
class Run:
    """A workflow that is being run, and how many of its steps were passed."""

    claimed: Claimed
    steps: int = 0


_running: ContextVar[Run | None] = ContextVar("running", default=None)


def current() -> Run:
    """The run that this is called in."""
    run = _running.get()
    assert run is not None  # noqa: S101 - called in a workflow
    return run


@dataclass(slots=True, kw_only=True)
class Runner:
    """Runs what was claimed of the named works, in the event loop that it was made in."""

    dbos: DBOS
    ledger: Ledger
    works: Mapping[str, Work]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    in_hand: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        metrics.WORK_RUNNING.read = lambda: {(queue,): float(number) for queue, number in self.in_hand.items()}

    def start(self, claimed: Sequence[Claimed]) -> list[str]:
        """Have them run; answers the ids of those that are DBOS's to deal with. Called in the queues' threads.

        They count as in work from here on, so that the next look knows of them.
        """
        mine = [one for one in claimed if one.name in self.works and one.claims <= CLAIMS]
        begun = [(one, self.dbos._active_workflows_set.add(one.workflow_id, one.queue, one.lane)) for one in mine]
        try:
            self.loop.call_soon_threadsafe(self._begin, begun)
        except RuntimeError:  # the loop has ended: what was claimed is recovered
            for _, entry in begun:
                entry.release()
        ours = {one.workflow_id for one in mine}
        return [one.workflow_id for one in claimed if one.workflow_id not in ours]

    def _begin(self, begun: Sequence[tuple[Claimed, Any]]) -> None:
        if any(event.is_set() for event in self.dbos.background_thread_stop_events):
            for _, entry in begun:  # claimed while the worker stopped: others find it with the row that we leave
                entry.release()
            return
        tasks = self.dbos._workflow_tasks  # those that a stop ends
        for one, entry in begun:
            task = self.loop.create_task(self._run(one, entry), name=one.name)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _run(self, claimed: Claimed, entry: Any) -> None:
        token = _running.set(Run(claimed))
        self.in_hand[claimed.queue] += 1
        metrics.QUEUE_WAIT_SECONDS(claimed.queue).observe(max(0, claimed.waited_ms) / 1000)
        try:
            given = deserialize_args(claimed.inputs, claimed.serialization, DBOSDefaultSerializer)
            await self.works[claimed.name](*given["args"], **given["kwargs"])
        except PutBack:
            return
        except Exception as error:
            log.exception("workflow_failed", task=claimed.name, workflow_id=claimed.workflow_id)
            landed = await self.ledger.end(claimed, "ERROR", error=_told(error, claimed.serialization))
        else:
            landed = await self.ledger.end(claimed, "SUCCESS")
        finally:
            _running.reset(token)
            self.in_hand[claimed.queue] -= 1
            entry.release()
        if not landed:
            log.info("outcome_of_another", task=claimed.name, workflow_id=claimed.workflow_id)


def known_to_dbos(name: str, work: Work) -> None:
    """Make the work DBOS's too: what it runs itself, which a start has given it before we claim, is run as well."""

    @wraps(work)
    async def run(*given: Any, **named: Any) -> None:
        workflow_id = DBOS.workflow_id
        assert workflow_id is not None  # noqa: S101 - it runs one
        claimed = Claimed(
            workflow_id=workflow_id,
            xid=current_owner_xid(workflow_id) or "",
            queue="",
            lane="",
            name=name,
            inputs="",
            serialization=PORTABLE,
            claims=1,
            has_steps=True,
        )
        token = _running.set(Run(claimed))
        try:
            await work(*given, **named)
        finally:
            _running.reset(token)

    DBOS.workflow(name=name)(run)


async def step(ledger: Ledger, name: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Do `work` once in a workflow, also across a crash: its result is recorded before this returns, and found again.

    Raises Superseded when the workflow is another run's by then.
    """
    run = current()
    run.steps += 1
    number = run.steps
    if run.claimed.has_steps and (found := await ledger.recorded(run.claimed, number, name)) is not None:
        return found
    begun_ms = int(time.time() * 1000)
    result = await work()
    if not await ledger.step(run.claimed, number, name, DBOSPortableJSON.serialize(result), begun_ms=begun_ms):
        raise Superseded(name)
    return result


def _told(error: Exception, serialization: str | None) -> str:
    """The error as DBOS keeps it, by its kind alone: what it says may hold what people wrote."""
    return serialize_exception(Exception(type(error).__name__), serialization, DBOSDefaultSerializer)[0]


@asynccontextmanager
async def in_its_slot() -> AsyncIterator[None]:
    """Around a workflow's work: what wants to be run later is put back into its lane, and its slot is free.

    The engine records the outcome of what ends with an `Exception` only, and the row is the queue's again before the
    run ends: a crash between the two changes nothing.
    """
    try:
        yield
    except Later as later:
        await put_back(later.wait_s)
        raise PutBack from None


async def put_back(wait_s: float) -> None:
    """Put the workflow that calls this back at the head of its lane, due after `wait_s` by the database's clock.

    Nothing is changed when it is not this run's any more. The attempt is not counted: it did not fail.
    """
    run = current().claimed
    told = {
        "id": run.workflow_id,
        "executor": DBOS.executor_id,
        "xid": run.xid,
        "wait_ms": round(wait_s * 1000),
    }
    engine = _get_dbos_instance()._sys_db.engine

    def write() -> None:
        with engine.begin() as conn:
            conn.exec_driver_sql(_PUT_BACK, told)

    pause_s = 0.1
    while True:
        try:
            await asyncio.to_thread(write)
        except (DBAPIError, SQLAlchemyError) as error:
            log.warning("not_put_back", task="engine", error=type(error).__name__, retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)
        else:
            return
