"""What a process says of itself: its pools, its garbage collector, its event loop, which build it is.

All of it is read when the page is asked for. What is watched is held weakly: a pool that is closed and gone counts no
more.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from recado import metrics
from recado.metrics.families import Labels

Use = Literal["app", "platform", "engine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """How full a pool is: its connections in use and idle, who waits for one, and what all who waited have waited."""

    used: int
    idle: int
    waiting: int = 0
    waited_s: float = 0.0


_pools: WeakKeyDictionary[Any, tuple[Use, Callable[[Any], Filled]]] = WeakKeyDictionary()
_lock = threading.Lock()


def watch_pool(pool: Any, use: Use, look: Callable[[Any], Filled]) -> None:
    """Count this pool among those of its use, as long as there is one; `look` must not hold it."""
    with _lock:
        _pools[pool] = (use, look)


def _looked() -> list[tuple[Use, Filled]]:
    with _lock:
        there = list(_pools.items())
    return [(use, look(pool)) for pool, (use, look) in there]


def _sum(values: Iterable[tuple[Labels, float]]) -> Mapping[Labels, float]:
    found: dict[Labels, float] = {}
    for labels, value in values:
        found[labels] = found.get(labels, 0.0) + value
    return found


def _connections() -> Mapping[Labels, float]:
    looked = _looked()
    return _sum(
        ((use, state), float(number))
        for use, filled in looked
        for state, number in (("used", filled.used), ("idle", filled.idle))
    )


@dataclass(slots=True)
class _Collector:
    """How often and how long the garbage collector ran since it is watched."""

    runs: int = 0
    took_s: float = 0.0
    began: float | None = None

    def told(self, phase: str, _: Mapping[str, int]) -> None:
        """A run begins or ends; called by the collector itself."""
        if phase == "start":
            self.began = time.perf_counter()
        elif self.began is not None:
            self.runs += 1
            self.took_s += time.perf_counter() - self.began
            self.began = None


_collector = _Collector()


def begin(role: metrics.Role, *, version: str, workflows: str, schema: str) -> None:
    """Have this process's series there from its start."""
    metrics.begin(role)
    metrics.BUILD_INFO.set({(version, workflows, schema): 1.0})
    metrics.POOL_CONNECTIONS.read = _connections
    metrics.POOL_WAITING.read = lambda: _sum(((use,), float(filled.waiting)) for use, filled in _looked())
    metrics.POOL_WAIT_SECONDS.read = lambda: _sum(
        ((use,), filled.waited_s) for use, filled in _looked() if use != "engine"
    )
    if _collector.told not in gc.callbacks:
        gc.callbacks.append(_collector.told)
    metrics.GC_RUNS.read = lambda: {(): float(_collector.runs)}
    metrics.GC_SECONDS.read = lambda: {(): _collector.took_s}
