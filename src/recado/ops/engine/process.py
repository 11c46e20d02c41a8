"""The engine in a worker's process: it is started, ended, and what it has in hand is given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSConfig
from dbos._dbos import _get_dbos_instance
from sqlalchemy.exc import DBAPIError

from recado import stopping, telemetry
from recado.db.work import QUEUES
from recado.ops.engine.claims import ask_less, claim_in_shares
from recado.ops.engine.ledger import BEGUN_BY, NOW_MS, Ledger
from recado.ops.engine.running import Runner, Work, known_to_dbos

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = structlog.get_logger(__name__)

#: The version of the workflows' code. Raise it when a workflow's steps change in number, order or result, and only
#: then: what a version has begun is finished by its workers alone (`ops/release`), whatever release they are.
WORKFLOWS_VERSION: Final = "1"

# Whatever version it is of: what has begun a step waits for a worker of its own, the rest is anybody's.
_GIVE_BACK: Final = f"""
UPDATE dbos.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, updated_at = {NOW_MS},
    application_version = {BEGUN_BY}
WHERE executor_id = %s AND status = 'PENDING' AND queue_name IN {QUEUES}
"""  # noqa: S608 - constants

#: What a stop waits for workflows to end; the rest is handed to other workers.
STOP_S: Final = 10.0
#: And what comes after that: for those that are cancelled, for giving back, and for the engine's threads, which are not
#: waited for once giving back has shown that the database does not answer.
CANCELLED_S, HAND_BACK_S, DESTROY_S, HANGING_S = 1.5, 2.0, 1.5, 0.3
#: What was claimed so long ago and does not run was lost on the way here.
UNSTARTED_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue as this worker takes from it; `each` is how much of one lane at once, where that is not one."""

    name: str
    at_once: int
    poll_s: float
    each: int | None = None


async def launch(
    *,
    url: str,
    engine: Engine,
    executor_id: str,
    works: Mapping[str, Work],
    ledger: Ledger,
    serves: Sequence[str],
    queues: Sequence[Queue],
    takes_new: Callable[[], bool],
) -> None:
    """Start taking work of the queues in `serves`; `queues` are those that are made known, or changed, before.

    As long as `takes_new` says no, only what this version has begun is taken.
    """
    telemetry.take_over("dbos")  # it would write its own format, exceptions included, to the console
    config: DBOSConfig = {
        "name": "recado",
        "system_database_url": url.replace("postgres://", "postgresql://", 1),
        "system_database_engine": engine,
        "max_executor_threads": 24,
        "run_migrations": False,
        "executor_id": executor_id,
        "application_version": WORKFLOWS_VERSION,
        "enable_otlp": False,
        "log_level": "WARNING",
        "scheduler_polling_interval_sec": 300.0,
    }
    DBOS(config=config)
    for name, work in works.items():
        known_to_dbos(name, work)
    DBOS.listen_queues(list(serves))
    DBOS.launch()
    dbos = _get_dbos_instance()
    each = {queue.name: queue.each for queue in queues if queue.each is not None}
    claim_in_shares(dbos._sys_db, each, Runner(dbos=dbos, ledger=ledger, works=works).start, takes_new=takes_new)
    ask_less(dbos._sys_db)
    for queue in queues:
        # Its lanes are claimed in shares: `partition_concurrency=1` is how DBOS asks for that.
        await DBOS.register_queue_async(
            queue.name,
            partition_concurrency=1,
            worker_concurrency=queue.at_once,
            polling_interval_sec=queue.poll_s,
            on_conflict="always_update",
        )


async def stop(executor_id: str) -> bool:
    """Take no more work, let what runs end for a while, hand back the rest; whether nothing is left with us.

    Whatever hangs is left behind: the engine's threads are daemons, or waited for by nobody (`recado.stopping`).
    """
    dbos = _get_dbos_instance()
    for event in dbos.background_thread_stop_events:
        event.set()
    deadline = time.monotonic() + STOP_S
    while dbos._active_workflows_set.activeList() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    idle = not dbos._active_workflows_set.activeList()
    destroy_s = DESTROY_S
    if not idle:
        idle = await _hand_back(dbos, executor_id)
        if not idle:
            destroy_s = HANGING_S
            log.warning("not_handed_back", task="stop", note="another worker takes it over")
    # Not on the loop's own threads: the engine has put its pool there, and is about to close it.
    if not await stopping.thread(lambda: DBOS.destroy(destroy_registry=True), within_s=destroy_s):
        log.warning("engine_left_behind", task="stop")
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="recado"))
    return idle


async def _hand_back(dbos: DBOS, executor_id: str) -> bool:
    """Cancel what runs and give it back; whether all was. A cancelled workflow records no outcome: it stays pending."""
    ended = await stopping.end(*dbos._workflow_tasks, within_s=CANCELLED_S)
    try:
        # Of what has not ended nothing is given back: two would do it.
        return ended and await stopping.thread(lambda: give_back(executor_id), within_s=HAND_BACK_S)
    except DBAPIError as error:
        log.warning("not_handed_back", task="stop", error=type(error).__name__)
        return False


async def recover(executor_id: str) -> int:
    """Put what an executor had in hand back at its lanes' heads; answers how many workflows."""
    return await asyncio.to_thread(give_back, executor_id)


def give_back(executor_id: str) -> int:
    """Do so; blocks. Once for each run: what another has claimed since is another executor's."""
    with _get_dbos_instance()._sys_db.engine.begin() as conn:
        return conn.exec_driver_sql(_GIVE_BACK, (executor_id,)).rowcount


def give_back_unstarted() -> int:
    """Give back what this process claimed but never started; answers how many.

    The queue claims a workflow and then starts it; when the database commits a claim and its answer is lost, the
    workflow is ours and nobody runs it. Blocks: for a thread.
    """
    dbos = _get_dbos_instance()
    running = set(dbos._active_workflows_set.activeList())  # before the look and after it
    ws = dbos._sys_db.tables.workflow_status
    with dbos._sys_db.engine.begin() as conn:
        claimed = [
            row[0]
            for row in conn.execute(
                sa.select(ws.c.workflow_uuid).where(
                    ws.c.status == "PENDING",
                    ws.c.queue_name.in_(QUEUES),
                    ws.c.executor_id == DBOS.executor_id,
                    ws.c.started_at_epoch_ms
                    < sa.text(f"(extract(epoch FROM clock_timestamp()) - {UNSTARTED_S}) * 1000"),
                )
            )
        ]
    running |= set(dbos._active_workflows_set.activeList())
    lost = [workflow_id for workflow_id in claimed if workflow_id not in running]
    if lost:
        with dbos._sys_db.engine.begin() as conn:
            conn.exec_driver_sql(f"{_GIVE_BACK} AND workflow_uuid = ANY(%s)", (DBOS.executor_id, lost))
        log.warning("unstarted_given_back", task="recovery", workflows=len(lost))
    return len(lost)
