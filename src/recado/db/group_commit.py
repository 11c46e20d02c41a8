"""Natural group commit: what has gathered while a lane was busy becomes one transaction.

No timer: a lone row never waits. Rows with the same lane key keep their order, and share their lane's room with
others: no key may fill it. Rows that nobody waits for have a lane of their own. When a batch fails, its rows are
tried one by one, so a bad row harms only itself; when the database is away, every caller hears it quickly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from recado.db.pool import PASSING, Connection

log = structlog.get_logger(__name__)

R = TypeVar("R")
A = TypeVar("A")

#: Rows of one transaction at most: more made it no faster, and a failed batch is tried row by row.
BATCH = 64
LANES = 2
#: Callers that wait at most; one more is told at once that the product is unavailable.
BACKLOG = 2000
#: Of them with one lane key. Four batches: whoever sends more at once delays nobody else by more than that.
SAME_KEY = 4 * BATCH
TIME_OUT_S = 4.0


class Unavailable(Exception):
    """The database can't be reached, or too many wait for it: nothing was stored, try again."""


@dataclass(slots=True)
class _Waiting(Generic[R, A]):
    row: R
    answer: asyncio.Future[A]


class GroupCommit(Generic[R, A]):
    """Runs `write(connection, rows)` as one transaction a batch and gives each caller its row's answer.

    `write` answers one item a row, in the rows' order, after its commit. An answer is only given for what is
    committed.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        write: Callable[[Connection, Sequence[R]], Awaitable[Sequence[A]]],
        lane_of: Callable[[R], int],
        apart: Callable[[R], bool] | None = None,
    ) -> None:
        self._connect = connect
        self._write = write
        self._lane_of = lane_of
        self._apart = apart
        lanes = LANES if apart is None else LANES + 1
        self._queues: list[deque[_Waiting[R, A]]] = [deque() for _ in range(lanes)]
        self._wake = [asyncio.Event() for _ in range(lanes)]
        self._in_work: dict[int, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> GroupCommit[R, A]:
        self._tasks = [
            asyncio.create_task(self._run(lane), name=f"group-commit-{lane}") for lane in range(len(self._queues))
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in self._queues:
            while queue:
                _refuse(queue.popleft(), Unavailable("stopping"))

    async def submit(self, row: R) -> A:
        """The answer to `row`, after its transaction has committed.

        Raises Unavailable when nothing was stored because the database can't be reached, and whatever `write` raised
        for this row alone.
        """
        key = self._lane_of(row)
        lane = LANES if self._apart is not None and self._apart(row) else key % LANES
        same = self._in_work.get(key, 0)
        if len(self._queues[lane]) >= BACKLOG or same >= SAME_KEY:
            raise Unavailable("too many wait")
        waiting: _Waiting[R, A] = _Waiting(row, asyncio.get_running_loop().create_future())
        self._in_work[key] = same + 1
        self._queues[lane].append(waiting)
        self._wake[lane].set()
        try:
            return await waiting.answer
        finally:
            left = self._in_work[key] - 1
            if left:
                self._in_work[key] = left
            else:
                del self._in_work[key]

    async def _run(self, lane: int) -> None:
        queue, wake = self._queues[lane], self._wake[lane]
        conn: Connection | None = None
        try:
            while True:
                await wake.wait()
                wake.clear()
                while queue:
                    batch = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
                    try:
                        conn = await self._commit(conn, batch)
                    except BaseException:
                        for waiting in batch:
                            _refuse(waiting, Unavailable("stopping"))
                        raise
        finally:
            if conn is not None:
                await conn.close()

    async def _commit(self, conn: Connection | None, batch: list[_Waiting[R, A]]) -> Connection | None:
        """Commit the batch and answer its callers; the connection to go on with, if it still works."""
        try:
            conn = await self._attempt(conn, batch)
        except (*PASSING, TimeoutError) as error:
            # The commit may have happened: each row is tried again alone, and `write` must bear that.
            log.warning("batch_not_committed", error=type(error).__name__, rows=len(batch))
            await _close(conn)
            return await self._one_by_one(None, batch, last=error)
        except Exception as error:
            log.warning("batch_failed", error=type(error).__name__, rows=len(batch))
            if len(batch) == 1:
                _refuse(batch[0], error)
                await _close(conn)
                return None
            await _close(conn)
            return await self._one_by_one(None, batch, last=None)
        return conn

    async def _one_by_one(
        self, conn: Connection | None, batch: list[_Waiting[R, A]], *, last: Exception | None
    ) -> Connection | None:
        for position, waiting in enumerate(batch):
            try:
                conn = await self._attempt(conn, [waiting])
            except (*PASSING, TimeoutError) as error:
                await _close(conn)
                conn = None
                if last is not None:  # it failed twice in a row: the database is away, tell everyone now
                    for left in batch[position:]:
                        _refuse(left, Unavailable(type(error).__name__))
                    return None
                last = error
                _refuse(waiting, Unavailable(type(error).__name__))
            except Exception as error:
                _refuse(waiting, error)
                await _close(conn)
                conn = None
            else:
                last = None
        return conn

    async def _attempt(self, conn: Connection | None, batch: list[_Waiting[R, A]]) -> Connection:
        async with asyncio.timeout(TIME_OUT_S):
            if conn is None or conn.closed:
                conn = await self._connect()
            try:
                answers = await self._write(conn, [waiting.row for waiting in batch])
            except BaseException:
                await _close(conn)
                raise
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        return conn


def _refuse(waiting: _Waiting[R, A], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)


async def _close(conn: Connection | None) -> None:
    if conn is not None:
        with contextlib.suppress(*PASSING):
            await conn.close()
