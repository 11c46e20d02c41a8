"""Shares: how much of what is scarce one owner may have in hand, whatever it has waiting.

One policy for a worker's slots, its connections and its transcriber. One owner alone gets half of what may be shared;
each that comes gets as much as those before leave it, so that two have a third each and three a quarter. A part is kept
for owners with nothing in hand: however much the others have, what comes of another starts at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from itertools import count

#: Of so many slots one is kept for owners with nothing in hand; of fewer than `LEAST_SLOTS` none.
RESERVED_OF, LEAST_SLOTS = 8, 4
#: A gate knows of so many owners when they had their last turn, at least.
_REMEMBERED = 1_000


def reserve(slots: int) -> int:
    """How many of `slots` only an owner with nothing in hand may take."""
    return max(slots // RESERVED_OF, 1) if slots >= LEAST_SLOTS else 0


def share(slots: int, others: int) -> int:
    """How much one owner may have in hand while the other owners have `others`; never less than one."""
    left = slots - reserve(slots) - others
    return max(1, -(-left // 2))


def may_take(slots: int, mine: int, others: int) -> bool:
    """Whether an owner who has `mine` of `slots` in hand may take one more, while the other owners have `others`."""
    free = slots - mine - others
    if free <= 0:
        return False
    if mine <= 0:
        return True
    return free > reserve(slots) and mine < share(slots, others)


def allot(waiting: Mapping[str, int], in_hand: Mapping[str, int], slots: int, *, free: int) -> dict[str, int]:
    """How many each owner gets now of at most `free`: of `waiting` by owner, whoever has the least in hand first.

    Among those who have as much, the order of `waiting` decides.
    """
    given: Counter[str] = Counter()
    total = sum(in_hand.values())
    left = dict(waiting)
    while free > 0 and left:
        owner = min(left, key=lambda name: in_hand.get(name, 0) + given[name])
        mine = in_hand.get(owner, 0) + given[owner]
        if left[owner] <= 0 or not may_take(slots, mine, total - mine):
            del left[owner]  # who takes later leaves them no more than there is now
            continue
        given[owner] += 1
        left[owner] -= 1
        total += 1
        free -= 1
    return dict(given)


class Gate:
    """So many at once, in shares: who has the least in hand goes first, then whose turn is longest ago, then who came
    first. For one event loop.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._in_hand: Counter[Hashable] = Counter()
        self._waiting: dict[int, tuple[Hashable, asyncio.Future[None]]] = {}
        self._numbers = count()
        #: When each had its last turn, of those who wait or had one lately.
        self._latest: dict[Hashable, int] = {}

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Wait for the owner's turn, however long that takes, and keep it until left."""
        await self._take(owner)
        try:
            yield
        finally:
            self._leave(owner)

    async def _take(self, owner: Hashable) -> None:
        number = next(self._numbers)
        granted = asyncio.get_running_loop().create_future()
        self._waiting[number] = owner, granted
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._leave(owner)
            else:
                self._waiting.pop(number, None)
            raise

    def _leave(self, owner: Hashable) -> None:
        self._in_hand[owner] -= 1
        if not self._in_hand[owner]:
            del self._in_hand[owner]
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            total = self._in_hand.total()
            first: dict[Hashable, int] = {}
            for number, (owner, _) in self._waiting.items():
                mine = self._in_hand[owner]
                if owner not in first and may_take(self.slots, mine, total - mine):
                    first[owner] = number
            if not first:
                return
            number = min(first.values(), key=self._order)
            owner, granted = self._waiting.pop(number)
            if not granted.done():
                self._in_hand[owner] += 1
                self._latest[owner] = next(self._numbers)
                if len(self._latest) > _REMEMBERED:
                    there = {name for name, _ in self._waiting.values()} | set(self._in_hand)
                    self._latest = {name: at for name, at in self._latest.items() if name in there}
                granted.set_result(None)

    def _order(self, number: int) -> tuple[int, int, int]:
        owner = self._waiting[number][0]
        return self._in_hand[owner], self._latest.get(owner, -1), number
