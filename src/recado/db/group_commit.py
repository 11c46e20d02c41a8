"""Natural group commit: what has gathered while a lane was busy becomes one transaction.

No timer: a lone row never waits. Rows with the same lane key keep their order, and share their lane's room with
others: no key may fill it. Rows that nobody waits for have a lane of their own. When a batch fails, its rows are
tried one by one, so a bad row harms only itself.

A row that waits for somebody's lock, or takes too long, is that row's trouble: what has its key goes aside, to a lane
where each is tried alone with little patience, until one of that key has passed there. Several such keys of one owner,
and all that is the owner's goes there. "The database is away" is said when a new connection can't be had: quickly,
and to all who wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import psycopg
import structlog
from psycopg import sql

from recado import metrics
from recado.db.pool import PASSING, Connection, renew_plans
from recado.stopping import end

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
#: Within this an answer comes, and a new connection can be had, or the database is away.
TIME_OUT_S, CONNECT_S = 4.0, 3.0
#: A caller hears what became of a row within about this; Twilio waits for 15 s.
WAIT_S = 6.0
#: What a statement of a lane may wait for one lock, and take in all. The server ends it, so it is known to be there.
LOCK_S, STATEMENT_S = 0.3, 3.0
#: The same for a row of a failed batch: there the other rows wait too. After a few that wait, the rest may not.
ALONE_LOCK_S, ALONE_STATEMENT_S, ALONE_WAITS = 0.05, 0.5, 3
NO_WAIT_S = 0.001
#: The patience for locks of the rows aside, all together; each may take as much, its share of it for one lock.
ASIDE_S = 1.0
#: A key that failed stays aside so long, or until one of its rows has passed; so does an owner with so many of them.
REMEMBER_S, OWNERS_KEYS = 5.0, 3

#: What the server answers when a statement waited too long for a lock, or took too long.
_LOCKED, _TOO_LONG = "55P03", "57014"
#: It gave way to another transaction: tried again alone it passes.
_GAVE_WAY = ("40P01", "40001")


class Unavailable(Exception):
    """The database can't be reached, a lock was in the way, or too many wait: nothing was stored, try again."""


class _Away(Exception):
    """A new connection can't be had."""


@dataclass(slots=True)
class _Waiting(Generic[R, A]):
    row: R
    key: int
    owner: Hashable
    answer: asyncio.Future[A]
    since: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Line:
    """A lane's connection, and how much patience its session has at present."""

    conn: Connection | None = None
    patience: tuple[float, float] = (0.0, 0.0)


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
        owner_of: Callable[[R], Hashable] | None = None,
        door: Literal["accept", "confirm"] = "accept",
    ) -> None:
        self.door = door
        self._connect = connect
        self._write = write
        self._lane_of = lane_of
        self._apart = apart
        self._owner_of = owner_of
        lanes = LANES if apart is None else LANES + 1
        self._queues: list[deque[_Waiting[R, A]]] = [deque() for _ in range(lanes + 1)]
        self._aside = self._queues[-1]
        self._wake = [asyncio.Event() for _ in range(lanes + 1)]
        self._in_work: dict[int, int] = {}
        #: Until when what has this key, and whose it is, goes aside, and until when all that is this owner's.
        self._troubled: dict[int, tuple[float, Hashable]] = {}
        self._troubled_owners: dict[Hashable, float] = {}
        #: How many of each key wait there.
        self._there: Counter[int] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> GroupCommit[R, A]:
        self._tasks = [
            asyncio.create_task(self._run(lane), name=f"group-commit-{lane}") for lane in range(len(self._queues))
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(*self._tasks)
        for queue in self._queues:
            while queue:
                _refuse(queue.popleft(), Unavailable("stopping"))

    async def submit(self, row: R) -> A:
        """The answer to `row`, after its transaction has committed.

        Raises Unavailable when nothing was stored because the database can't be reached or the row's lock was
        another's, and whatever `write` raised for this row alone.
        """
        key = self._lane_of(row)
        owner = None if self._owner_of is None else self._owner_of(row)
        waiting: _Waiting[R, A] = _Waiting(row, key, owner, asyncio.get_running_loop().create_future())
        aside = self._goes_aside(waiting)
        lane = -1 if aside else LANES if self._apart is not None and self._apart(row) else key % LANES
        same = self._in_work.get(key, 0)
        if len(self._queues[lane]) >= BACKLOG or same >= SAME_KEY:
            raise Unavailable("too many wait")
        self._in_work[key] = same + 1
        if aside:
            self._put_aside(waiting)
        else:
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

    def waiting(self) -> dict[tuple[str, ...], float]:
        """How many rows wait in each of its lanes, by door and lane, as the metrics name them."""
        names = [str(lane) for lane in range(LANES)] + ["held"] * (self._apart is not None) + ["aside"]
        return {(self.door, name): float(len(queue)) for name, queue in zip(names, self._queues, strict=True)}

    def _goes_aside(self, waiting: _Waiting[R, A]) -> bool:
        """Whether its key or owner is in trouble; or the key only was, but what came before it is still aside."""
        if not self._troubled and not self._there:
            return False
        now = time.monotonic()
        return (
            waiting.key in self._there
            or self._troubled.get(waiting.key, (0.0,))[0] > now
            or self._troubled_owners.get(waiting.owner, 0.0) > now
        )

    def _put_aside(self, waiting: _Waiting[R, A]) -> None:
        self._there[waiting.key] += 1
        self._aside.append(waiting)
        self._wake[-1].set()

    def _comes_back(self, waiting: _Waiting[R, A]) -> None:
        self._there[waiting.key] -= 1
        if self._there[waiting.key] <= 0:
            del self._there[waiting.key]

    def _in_trouble(self, waiting: _Waiting[R, A]) -> None:
        """Remember that this row's key failed, and its owner if too many have."""
        now = time.monotonic()
        self._troubled = {key: found for key, found in self._troubled.items() if found[0] > now}
        self._troubled_owners = {owner: until for owner, until in self._troubled_owners.items() if until > now}
        self._troubled[waiting.key] = now + REMEMBER_S, waiting.owner
        of_owner = sum(owner == waiting.owner for _, owner in self._troubled.values())
        if waiting.owner is not None and of_owner >= OWNERS_KEYS:
            self._troubled_owners[waiting.owner] = now + REMEMBER_S

    def _move_aside(self, *queues: deque[_Waiting[R, A]]) -> None:
        """Whatever goes aside of what waits in these queues, in its order: nothing overtakes."""
        for queue in queues:
            stays = [waiting for waiting in queue if not self._goes_aside(waiting)]
            if len(stays) < len(queue):
                for waiting in queue:
                    if self._goes_aside(waiting):
                        self._put_aside(waiting)
                queue.clear()
                queue.extend(stays)

    async def _run(self, lane: int) -> None:
        queue, wake = self._queues[lane], self._wake[lane]
        line = _Line()
        try:
            while True:
                await wake.wait()
                wake.clear()
                while queue:
                    batch = deque(queue.popleft() for _ in range(min(BATCH, len(queue))))
                    try:
                        await (self._each_alone if queue is self._aside else self._commit)(line, batch)
                    except _Away as away:
                        log.warning("database_unavailable", task="group_commit", rows=len(batch) + len(queue))
                        _refuse_all(batch, Unavailable(str(away)))
                        _refuse_all(queue, Unavailable(str(away)))
                        if queue is self._aside:
                            self._there.clear()
                    except BaseException:
                        _refuse_all(batch, Unavailable("stopping"))
                        raise
        finally:
            await _close(line)

    async def _commit(self, line: _Line, batch: deque[_Waiting[R, A]]) -> None:
        """Commit the batch and answer its callers. Raises _Away, what is left of the batch not answered."""
        self._move_aside(batch)
        if not batch:
            return
        try:
            await self._attempt(line, batch, LOCK_S, STATEMENT_S)
        except _Away:
            raise
        except (*PASSING, TimeoutError) as error:
            # The commit may have happened: each row is tried again alone, and `write` must bear that.
            log.warning("batch_not_committed", error=type(error).__name__, rows=len(batch))
        except Exception as error:
            log.warning("batch_failed", error=type(error).__name__, rows=len(batch))
            if len(batch) == 1:
                _refuse(batch.popleft(), error)
        else:
            return
        await self._one_by_one(line, batch)

    async def _one_by_one(self, line: _Line, batch: deque[_Waiting[R, A]]) -> None:
        """A failed batch: what passes alone is answered; what waits for a lock, or takes too long, goes aside."""
        waited = 0
        gives_up = time.monotonic() + WAIT_S
        while batch:
            waiting = batch[0]
            if time.monotonic() > gives_up:
                _refuse_all(batch, Unavailable("others took too long"))
                return
            lock_s = ALONE_LOCK_S if waited < ALONE_WAITS else NO_WAIT_S
            try:
                await self._attempt(line, [waiting], lock_s, ALONE_STATEMENT_S)
            except _Away:
                raise
            except (*PASSING, TimeoutError) as error:
                if _is_the_rows(error):
                    waited += 1
                    self._in_trouble(waiting)
                    self._move_aside(batch, *self._queues[:-1])
                    continue
                _refuse(waiting, Unavailable(type(error).__name__))
            except Exception as error:
                _refuse(waiting, error)
            batch.popleft()

    async def _each_alone(self, line: _Line, batch: deque[_Waiting[R, A]]) -> None:
        """What was put aside: each row alone, once, with its share of the patience; one that fails is refused."""
        share_s = max(ASIDE_S / len({waiting.key for waiting in batch}), NO_WAIT_S)
        failed: set[int] = set()
        slow_until = time.monotonic() + STATEMENT_S
        while batch:
            waiting = batch[0]
            now = time.monotonic()
            if waiting.key in failed or now - waiting.since > WAIT_S:
                _refuse(waiting, Unavailable("locked"))
            elif not waiting.answer.done():
                statement_s = STATEMENT_S if now < slow_until else ALONE_STATEMENT_S
                try:
                    await self._attempt(line, [waiting], share_s, statement_s)
                except _Away:
                    raise
                except (*PASSING, TimeoutError) as error:
                    if _is_the_rows(error):
                        log.warning("row_locked", error=type(error).__name__)
                        failed.add(waiting.key)
                        self._in_trouble(waiting)
                    _refuse(waiting, Unavailable(type(error).__name__))
                except Exception as error:
                    _refuse(waiting, error)
                else:
                    self._troubled.pop(waiting.key, None)
            self._comes_back(batch.popleft())

    async def _attempt(self, line: _Line, batch: Sequence[_Waiting[R, A]], lock_s: float, statement_s: float) -> None:
        """Commit these rows and answer their callers. Raises _Away, or what the server or its silence says of them."""
        conn = await self._connected(line)
        try:
            async with asyncio.timeout(TIME_OUT_S):
                if line.patience != (lock_s, statement_s):
                    await conn.execute(_patience(lock_s, statement_s), prepare=False)
                    line.patience = (lock_s, statement_s)
                await renew_plans(conn)
                answers = await self._write(conn, [waiting.row for waiting in batch])
        except BaseException as error:
            metrics.COMMIT_FAILURES(self.door).inc()
            # The server has answered and rolled back: the session goes on.
            if conn.closed or not _is_the_rows(error):
                await _close(line)
            raise
        metrics.COMMIT_BATCHES(self.door).inc()
        metrics.COMMIT_ROWS(self.door).inc(len(batch))
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _connected(self, line: _Line) -> Connection:
        if line.conn is None or line.conn.closed:
            try:
                async with asyncio.timeout(CONNECT_S):
                    line.conn = await self._connect()
            except (*PASSING, TimeoutError) as error:
                raise _Away(type(error).__name__) from None
            line.patience = (0.0, 0.0)
        return line.conn


def _patience(lock_s: float, statement_s: float) -> sql.Composed:
    return sql.SQL("SET lock_timeout = {}; SET statement_timeout = {}").format(
        round(lock_s * 1000), round(statement_s * 1000)
    )


def _is_the_rows(error: BaseException) -> bool:
    """Whether the server itself says that the statement waited or worked for too long, or gave way: it is there."""
    return isinstance(error, psycopg.Error) and error.sqlstate in (_LOCKED, _TOO_LONG, *_GAVE_WAY)


def _refuse(waiting: _Waiting[R, A], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)


def _refuse_all(waiting: deque[_Waiting[R, A]], error: Exception) -> None:
    while waiting:
        _refuse(waiting.popleft(), error)


async def _close(line: _Line) -> None:
    if line.conn is not None:
        with contextlib.suppress(*PASSING):
            await line.conn.close()
        line.conn = None
