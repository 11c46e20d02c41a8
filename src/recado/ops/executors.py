"""Executors: which worker processes are alive, told by a lock that PostgreSQL holds for each.

An executor is a row and a session-level advisory lock on a connection of its own; the lock goes with the process,
however it dies: also when its machine vanishes without a word, as the server ends a session that has not beaten for
`SILENT_S`. Who takes another executor's lock has shown that it is dead, and while holding it gives its work back to the
queue. An executor that finds itself declared dead stops at once: its work is somebody else's now.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from recado import __version__, metrics
from recado.db.patience import PatientConnection
from recado.db.pool import PASSING, Connection
from recado.db.work import DELIVERIES, DELIVERY, QUEUES
from recado.stopping import end

log = structlog.get_logger(__name__)

#: How often an executor shows that it still holds its lock, and looks for dead ones.
BEAT_S = 1.0
#: The server lets go of the lock of an executor from which it has not heard for so long, whatever TCP thinks of it: a
#: machine without power, a proxy that goes silent, a process that is stopped or computes without end.
SILENT_S = 20.0
#: And an executor takes a server for lost that has not answered for so long.
PATIENCE_S = 5.0
#: A restart of PostgreSQL frees every lock; the living get this long to take theirs again.
AFTER_RESTART_S = 5.0
#: So old, and looked for so often, is work of an executor that has no row.
ORPHANED_S = 30.0
#: Who has it looks at the whole database for the metrics (`ops/gauges`).
LOOKS_KEY = 0x7265_6361_676C


# A delivery is one workflow, and the engine wrote down who had it in hand before it began: so it is counted here, when
# it was in hand at a death, and costs nothing while nobody dies. Once for each death, also when whoever recovers dies.
_DIED = f"""
WITH death AS (
    INSERT INTO executor_deaths (executor_id)
    SELECT %s WHERE NOT EXISTS (SELECT FROM executor_deaths WHERE executor_id = %s) RETURNING executor_id
), in_hand AS (
    SELECT split_part(w.queue_partition_key, ':', 1)::uuid AS owner_id, left(w.workflow_uuid, 36)::uuid AS id
    FROM death JOIN dbos.workflow_status w ON w.executor_id = death.executor_id
    WHERE w.status = 'PENDING' AND w.name = '{DELIVERY}' AND w.queue_name = '{DELIVERIES}'
      AND w.queue_partition_key ~ '^[0-9a-f-]{{36}}:' AND w.workflow_uuid ~ '^[0-9a-f-]{{36}}'
)
UPDATE messages m SET starts = m.starts + 1, begun_at = coalesce(m.begun_at, clock_timestamp())
FROM in_hand WHERE m.owner_id = in_hand.owner_id AND m.id = in_hand.id AND m.direction = 'outbound'
"""  # noqa: S608 - constants


# A tuple of Python's is written as SQL writes a list.
_ORPHANS = f"""
SELECT DISTINCT w.executor_id AS id FROM dbos.workflow_status w
WHERE w.status = 'PENDING' AND w.queue_name IN {QUEUES} AND w.executor_id IS NOT NULL
  AND w.started_at_epoch_ms < extract(epoch FROM clock_timestamp() - make_interval(secs => %s)) * 1000
  AND NOT EXISTS (SELECT FROM executors e WHERE e.id = w.executor_id)
"""  # noqa: S608 - constants
_LEFT = """
DELETE FROM executors WHERE id = %s
  AND NOT EXISTS (SELECT FROM dbos.workflow_status WHERE executor_id = %s AND status = 'PENDING')
"""


_REGISTER = """
INSERT INTO executors (id, lock_key, kind, host, pid, queues, version, recado, draining)
SELECT %(id)s, %(lock_key)s, %(kind)s, %(host)s, %(pid)s, %(queues)s, %(version)s, %(recado)s, v.draining
FROM workflow_versions v WHERE v.version = %(version)s
RETURNING draining
"""
_BEAT = """
SELECT e.draining AS said, coalesce(v.draining, false) AS draining
FROM executors e LEFT JOIN workflow_versions v ON v.version = e.version WHERE e.id = %s
"""
_SAID = "UPDATE executors SET draining = %s WHERE id = %s"


@dataclass(slots=True)
class Executor:
    """An executor: one worker process; `id` is its name in the workflow engine."""

    open: Callable[[], Awaitable[Connection]]
    kind: str
    queues: list[str]
    #: Of its workflows, and whether it takes work that none has begun: not while that version drains (`ops/release`).
    version: str = "1"
    takes_new: bool = True
    id: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")
    lock_key: int = field(default_factory=lambda: secrets.randbits(62))
    silent_s: float = SILENT_S
    _conn: Connection | None = None
    _session: int = 0
    _looks: Connection | None = None
    _beaten_at: float = field(default_factory=time.monotonic)

    async def connect(self) -> Connection:
        """A connection whose session lives as long as something comes on it."""
        conn = await self.open()
        if isinstance(conn, PatientConnection):
            conn.patience_s = PATIENCE_S
        await conn.execute("SELECT set_config('idle_session_timeout', %s, false)", [str(round(self.silent_s * 1000))])
        return conn

    async def register(self) -> None:
        """Take the lock, then appear in the table: a row without its lock is a dead executor."""
        self._conn = await self.connect()
        self._session = self._conn.info.backend_pid
        await self._conn.execute("SELECT pg_advisory_lock(%s)", [self.lock_key])
        await self._conn.execute(
            "INSERT INTO workflow_versions (version) VALUES (%s) ON CONFLICT DO NOTHING", [self.version]
        )
        draining = await (await self._conn.execute(_REGISTER, self._row())).fetchone()
        self.takes_new = not (draining is not None and draining["draining"])
        if not self.takes_new:
            log.warning("version_gate", task="executors", version=self.version, new=False)

    def _row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "lock_key": self.lock_key,
            "kind": self.kind,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": self.queues,
            "version": self.version,
            "recado": __version__,
        }

    def is_well(self) -> bool:
        """Whether it has shown that it lives for as long as others would wait before they take its work."""
        return time.monotonic() - self._beaten_at < self.silent_s

    async def beat(self) -> bool:
        """Is this executor still itself? False: another has declared it dead, it must stop.

        After a lost connection the lock is taken again; while the server still has our former session, that holds it
        for us. Raises what the database raises while it is away.
        """
        if self._conn is None or self._conn.closed:
            conn = await self.connect()
            row = await (await conn.execute("SELECT pg_try_advisory_lock(%s) AS mine", [self.lock_key])).fetchone()
            there = await (await conn.execute("SELECT id FROM executors WHERE id = %s", [self.id])).fetchone()
            if row is None or not row["mine"] or there is None:
                ours = there is not None and await _holder(conn, self.lock_key) in (self._session, None)
                await conn.close()
                return ours
            self._conn, self._session = conn, conn.info.backend_pid
            log.info("executor_lock_taken_again", task="executors")
        try:
            found = await (await self._conn.execute(_BEAT, [self.id])).fetchone()
            if found is not None and found["draining"] != found["said"]:
                self.takes_new = not found["draining"]  # before it says so
                await self._conn.execute(_SAID, [found["draining"], self.id])
                log.info("version_gate", task="executors", version=self.version, new=self.takes_new)
        except PASSING:
            await self._drop()
            raise
        self._beaten_at = time.monotonic()
        return found is not None

    async def recover_dead(self, recover: Callable[[str], Awaitable[int]]) -> int:
        """Give the work of dead executors back to the queue with `recover(executor id)`; answers how many died."""
        conn = self._conn
        if conn is None:
            return 0
        rows = await (
            await conn.execute(
                """
                SELECT id, lock_key FROM executors
                WHERE id <> %s AND now() - pg_postmaster_start_time() > make_interval(secs => %s)
                """,
                [self.id, AFTER_RESTART_S],
            )
        ).fetchall()
        dead = 0
        for row in rows:
            tried = await (await conn.execute("SELECT pg_try_advisory_lock(%s) AS dead", [row["lock_key"]])).fetchone()
            if tried is None or not tried["dead"]:
                continue
            try:
                # Its row may be gone already: another executor was faster between our two looks.
                still = await (await conn.execute("SELECT id FROM executors WHERE id = %s", [row["id"]])).fetchone()
                if still is not None:
                    await conn.execute(_DIED, [row["id"], row["id"]])
                    await conn.execute("DELETE FROM executor_deaths WHERE at < now() - interval '1 day'")
                    workflows = await _beating(conn, recover(row["id"]))
                    await conn.execute("DELETE FROM executors WHERE id = %s", [row["id"]])
                    log.warning("executor_recovered", task="recovery", executor=row["id"], workflows=workflows)
                    metrics.EXECUTOR_DEATHS().inc()
                    dead += 1
            finally:
                await conn.execute("SELECT pg_advisory_unlock(%s)", [row["lock_key"]])
        return dead

    async def recover_orphans(self, recover: Callable[[str], Awaitable[int]]) -> int:
        """Give back the work of executors that have no row any more, once it is old; answers how many there were.

        A claim may be committed after its executor has left, or by one that was declared dead and does not know yet.
        """
        if self._conn is None:
            return 0
        orphans = await (await self._conn.execute(_ORPHANS, [ORPHANED_S])).fetchall()
        for row in orphans:
            workflows = await _beating(self._conn, recover(row["id"]))
            if workflows:
                log.warning("executor_recovered", task="orphans", executor=row["id"], workflows=workflows)
        return len(orphans)

    async def looks_for_all(self) -> bool:
        """Whether this executor is the one that looks at the whole database: the first to ask, as long as it lives.

        The lock is its session's, as the executor's own is: whoever loses one loses both.
        """
        conn = self._conn
        if conn is None or conn.closed:
            return False
        if self._looks is not conn:
            found = await (await conn.execute("SELECT pg_try_advisory_lock(%s) AS mine", [LOOKS_KEY])).fetchone()
            if found is None or not found["mine"]:
                return False
            self._looks = conn
        return True

    async def leave(self, *, idle: bool) -> None:
        """Give the lock back; with nothing left in work the row goes too, else others find it and take the work.

        A claim may have been committed while the last look found nothing in work: its rows tell.
        """
        if self._conn is not None and not self._conn.closed:
            with contextlib.suppress(*PASSING, TimeoutError):
                if idle:
                    await self._conn.execute(_LEFT, [self.id, self.id])
        await self._drop()

    async def _drop(self) -> None:
        if self._conn is not None:
            with contextlib.suppress(*PASSING):
                await self._conn.close()
        self._conn = None


async def _holder(conn: Connection, key: int) -> int | None:
    """Which session of the server has the lock; None when it has just let go, and the next beat takes it."""
    found = await conn.execute(
        """
        SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
                                   AND (classid::bigint << 32 | objid::bigint) = %s
        """,
        [key],
    )
    row = await found.fetchone()
    return None if row is None else int(row["pid"])


async def _beating(conn: Connection, work: Awaitable[int]) -> int:
    """What `work` gives; meanwhile the session that holds the locks shows that it lives."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=BEAT_S))[0]:
            await conn.execute("SELECT")
        return await task
    finally:
        await end(task)


async def keep_alive(
    executor: Executor, recover: Callable[[str], Awaitable[int]], declared_dead: Callable[[], None]
) -> None:
    """Beat and look for the dead, each second, until cancelled; `declared_dead` is called when this executor is."""
    looked_at = time.monotonic()
    while True:
        began = time.monotonic()
        try:
            if not await executor.beat():
                log.error("executor_declared_dead", task="executors", note="another worker has taken over; stopping")
                declared_dead()
                return
            await executor.recover_dead(recover)
            if began - looked_at >= ORPHANED_S:
                looked_at = began
                await executor.recover_orphans(recover)
        except PASSING as error:
            log.warning("database_unavailable", task="executors", error=type(error).__name__)
            await executor._drop()  # noqa: SLF001 - its own module
        except Exception:
            log.exception("recovery_failed", task="executors")
        await asyncio.sleep(max(0.1, BEAT_S - (time.monotonic() - began)))
