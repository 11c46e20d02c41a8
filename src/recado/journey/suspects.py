"""What was in hand when a worker died: whose doing it was, as far as anybody can tell, and how it begins again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from recado.clock import Clock, SystemClock
from recado.conversations import messages
from recado.conversations.happenings import Step, happened
from recado.db.pool import PASSING, Pool
from recado.db.scope import Scope, scoped
from recado.journey.pause import SHORT_S, Later

#: So often a message may be in hand when its worker dies; where workers die without it too, that tells less of it.
STRIKES: Final = 2
STRIKES_AMONG_OTHERS: Final = 4
#: Deaths so long before a message was first in hand count as those of others.
BEFORE: Final = timedelta(seconds=60)
#: Nothing is blamed before no worker has died for so long: whoever kills workers one after the other, a deployment or a
#: machine without memory, shows by then that they die without it too. It is looked at again after each `LOOK_S`.
CALM_S: Final = 10.0
LOOK_S: Final = 3.0
#: A message that was in hand when a worker died begins so long before the next such message: of two that begin at once
#: and meet a death nobody could say whose it was.
HEAD_START_S: Final = 1.5


def is_broken(starts: int, deaths: int) -> bool:
    """Whether what was in hand `starts` times without an end is not to be given again.

    `deaths` are the workers that died since shortly before it was first in hand: those among which it was in hand every
    time died of it, as far as anybody can tell.
    """
    return starts >= (STRIKES if deaths <= starts else STRIKES_AMONG_OTHERS)


class Suspected(Protocol):
    """What was in hand `starts` times without an end, first at `begun_at`."""

    @property
    def id(self) -> UUID: ...
    @property
    def starts(self) -> int: ...
    @property
    def begun_at(self) -> datetime | None: ...


async def blamed(scope: Scope, messages_in_hand: Iterable[Suspected], *, now: datetime) -> set[UUID]:
    """Those that are not to be given again. Raises Later as long as it can't be told whether workers die of others."""
    suspected = [message for message in messages_in_hand if message.starts >= STRIKES]
    if not suspected:
        return set()
    deaths = await messages.deaths_since(scope, min(message.begun_at or now for message in suspected) - BEFORE)
    broken = {message.id for message in suspected if is_broken(message.starts, deaths)}
    if broken and await messages.deaths_lately(scope, CALM_S):
        raise Later(LOOK_S)
    return broken


@dataclass(slots=True)
class Suspects:
    """What of one worker's work was in hand when a worker died, begun one after the other."""

    clock: Clock = field(default_factory=SystemClock)
    #: When the head start of the newest ends, and when that of the last one that waits does.
    _free_at: float = 0.0
    _given_until: float = 0.0

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Begin when no other suspect has just begun. Raises Later while others are before it, each for its time."""
        while (wait_s := self._free_at - self.clock.monotonic()) > 0:
            if wait_s > SHORT_S:
                due = max(self._given_until, self._free_at)
                self._given_until = due + HEAD_START_S
                raise Later(due - self.clock.monotonic())
            await self.clock.sleep_until(self.clock.now() + timedelta(seconds=wait_s))
        ends = self._free_at = self.clock.monotonic() + HEAD_START_S
        try:
            yield
        finally:
            if self._free_at == ends:
                self._free_at = self.clock.monotonic()


async def put_back(pool: Pool, owner_id: UUID, begun: Mapping[UUID, int], *, step: Step) -> None:
    """Count down what a step's work has counted up that ended in a way which says nothing of its messages."""
    if not begun:
        return
    try:
        async with asyncio.timeout(2), scoped(pool, owner_id) as scope:
            await messages.take_back_starts(scope, begun)
    except (TimeoutError, *PASSING) as error:
        await happened(owner_id, step, "not_put_back", error=type(error).__name__)
