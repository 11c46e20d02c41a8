"""Look-ups kept for a short while: bounded, one question for all who ask at once, forgotten when told of a change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lookup(Generic[K, V]):
    """Asks `ask` for a key at most once in `keep_s` seconds, which may depend on the answer; errors are not kept.

    When `size` answers are kept, the one that was not used for the longest time goes.
    """

    def __init__(self, ask: Callable[[K], Awaitable[V]], keep_s: Callable[[V], float], *, size: int = 10_000) -> None:
        self._ask = ask
        self._keep_s = keep_s
        self._size = size
        self._kept: dict[K, tuple[float, V]] = {}
        self._asking: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: K) -> V:
        """What `ask` answers, now or a short while ago. Raises what it raises."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] > time.monotonic():
            # Last in the order of use.
            del self._kept[key]
            self._kept[key] = kept
            return kept[1]
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._answer(key))
            asking.add_done_callback(_seen)
        # One caller that leaves must not take the answer from the others.
        return await asyncio.shield(asking)

    async def _answer(self, key: K) -> V:
        task = asyncio.current_task()
        try:
            value = await self._ask(key)
            # Asked before a change was told: an answer for those who asked then, not one to keep.
            if self._asking.get(key) is task:
                self._kept.pop(key, None)
                while len(self._kept) >= self._size:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = (time.monotonic() + self._keep_s(value), value)
            return value
        finally:
            if self._asking.get(key) is task:
                del self._asking[key]

    def forget(self, which: Callable[[K, V], bool] | None = None) -> None:
        """Forget the answers that `which` names, or all, and those that are being looked for."""
        self._asking.clear()
        if which is None:
            self._kept.clear()
            return
        for key in [key for key, (_, value) in self._kept.items() if which(key, value)]:
            del self._kept[key]


def _seen(task: asyncio.Task[V]) -> None:
    """An error whose askers have all left is nobody's; asyncio would complain about it."""
    if not task.cancelled():
        task.exception()
