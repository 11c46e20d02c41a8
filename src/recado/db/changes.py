"""Word of changed rows, from the process that changed them to all that remember them: LISTEN and NOTIFY.

Triggers tell the table and the row's id (migration 0004). Nothing else depends on it: what is remembered also ends by
itself, so a word that is lost costs a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from recado.db.pool import PASSING, Connection
from recado.stopping import end

log = structlog.get_logger(__name__)

CHANNEL = "recado_changed"
#: A connection on which nothing comes is asked this often whether it is alive.
PROBE_S = 20.0


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was added, changed or removed."""

    table: str
    id: UUID


#: Told of a change; None says that changes may have been missed.
Listener = Callable[[Change | None], None]


@dataclass(slots=True)
class Changes:
    """One listening connection of a process, open while anybody wants to hear."""

    connect: Callable[[], Awaitable[Connection]]
    _listeners: list[Listener] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def telling(self, listener: Listener) -> AsyncIterator[None]:
        """While it is open, `listener` is told of every change; first, and after each gap, it is told None."""
        self._listeners.append(listener)
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="changes")
        try:
            yield
        finally:
            self._listeners.remove(listener)
            if not self._listeners and self._task is not None:
                task, self._task = self._task, None
                await end(task)

    async def _listen(self) -> None:
        pause_s = 0.1
        while True:
            try:
                async with await self.connect() as conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    self._tell(None)
                    pause_s = 0.1
                    while True:
                        async for note in conn.notifies(timeout=PROBE_S):
                            self._tell(_read(note.payload))
                        await conn.execute("SELECT")
            except PASSING as error:
                self._tell(None)
                log.warning("database_unavailable", task="changes", error=type(error).__name__)
            except Exception:
                # Whatever it is, the process must not go on without hearing.
                self._tell(None)
                log.exception("changes_failed", task="changes")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    def _tell(self, change: Change | None) -> None:
        for listener in tuple(self._listeners):
            listener(change)


def _read(payload: str) -> Change | None:
    table, _, row_id = payload.partition(":")
    try:
        return Change(table, UUID(row_id))
    except ValueError:
        return None
