"""The part of a worker that posts events: it looks which endpoints are due, and has a round for each.

Every worker does, whatever queues it serves; an endpoint is one worker's at a time. Rounds of one owner leave room for
those of others, and an endpoint that fails or is slow holds nobody but itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog

from recado.db.pool import PASSING, Pool
from recado.db.scope import scoped
from recado.stopping import end
from recado.webhooks import ledger
from recado.webhooks.ledger import Held
from recado.webhooks.rounds import Desk, deliver

log = structlog.get_logger(__name__)

#: How often it is looked for endpoints that are due; with work left in one, at once.
LOOK_S: Final = 1.0
#: Rounds of this worker at once.
ROUNDS: Final = 64
#: What is broken, and not the endpoint, is tried again after so long.
_AGAIN_S: Final = 5.0


@dataclass(slots=True, kw_only=True)
class Loop:
    """Has rounds until it is stopped; `holder` is this worker's executor."""

    desk: Desk
    platform: Pool
    holder: str
    #: Of which owners nothing is posted for now (`ops/backup/quarantine`).
    waits: Callable[[UUID], bool] = lambda _: False
    look_s: float = LOOK_S
    rounds: int = ROUNDS
    _running: dict[asyncio.Task[bool], Held] = field(default_factory=dict)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Look and deliver until `stop`; then let what is in hand end, and return."""
        stopped = asyncio.create_task(self.desk.stopping.wait(), name="webhooks-stopped")
        try:
            while not stopped.done():
                self._more.clear()
                try:
                    await self._look()
                except PASSING as error:
                    log.warning("database_unavailable", task="webhooks", error=type(error).__name__)
                except Exception:
                    log.exception("webhooks_failed", task="webhooks")
                more = asyncio.create_task(self._more.wait(), name="webhooks-more")
                await asyncio.wait({stopped, more}, timeout=self.look_s, return_when=asyncio.FIRST_COMPLETED)
                more.cancel()
            if self._running:
                await asyncio.wait(set(self._running))
        finally:
            await end(stopped, *self._running, within_s=1.0)

    def stop(self) -> None:
        """Begin no post any more; `run` returns soon."""
        self.desk.stopping.set()

    async def _look(self) -> None:
        free = self.rounds - len(self._running)
        if free <= 0:
            return
        in_hand = Counter(str(held.owner_id) for held in self._running.values())
        async with self.platform.connection() as conn:
            claimed = await ledger.claim(conn, holder=self.holder, in_hand=in_hand, slots=self.rounds, free=free)
        for held in claimed:
            task = asyncio.create_task(self._round(held), name="webhook-round")
            self._running[task] = held
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and task.exception() is None and task.result():
            self._more.set()

    async def _round(self, held: Held) -> bool:
        try:
            if not self.waits(held.owner_id):
                return await deliver(self.desk, held)
        except PASSING as error:
            log.warning("database_unavailable", task="webhooks", error=type(error).__name__)
        except Exception:
            log.exception("webhook_failed", task="webhooks", owner_id=held.owner_id, webhook_id=held.id)
        try:
            async with scoped(self.desk.pool, held.owner_id) as scope:
                await ledger.let_go(scope, held, next_s=_AGAIN_S)
        except PASSING:
            log.warning("webhook_not_let_go", task="webhooks", owner_id=held.owner_id, webhook_id=held.id)
        return False
