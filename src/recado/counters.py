"""Counters of things in windows of time: in Redis for all processes together, in this process when it is away.

A counter that can't be reached must neither open the door nor close it, so its place is taken at once, by what this
process has counted itself, until Redis answers again.

In memory nothing of the `limits` library is used: its storage looks through all its keys at every count, 0.9 ms with
ten thousand contacts; what is here forgets a whole window at once, which costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any

import structlog

from recado.errors import SettingsError
from recado.settings import Rate

log = structlog.get_logger(__name__)

#: A counter in Redis answers within this, or Redis is away: longer, and its trouble would be every message's.
REDIS_S = 0.25
#: Counts in Redis at once: more would only open more connections.
AT_ONCE = 8
PROBE_S = 1.0
WARN_S = 60.0
#: Keys of one window in memory at most; then it begins anew, rather than let strangers fill the process.
KEYS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often it has happened in this window, this time included, and when the window ends."""

    number: int
    ends_in_s: float


class Window:
    """Counts of the present window of one length; the window before is forgotten as a whole."""

    def __init__(self, window_s: int) -> None:
        self._window_s = window_s
        self._present = -1
        self._counts: dict[str, int] = {}

    def add(self, key: str) -> Count:
        """Count it once more."""
        now = time.time()
        present = int(now / self._window_s)
        if present != self._present or len(self._counts) >= KEYS:
            self._present, self._counts = present, {}
        number = self._counts.get(key, 0) + 1
        self._counts[key] = number
        return Count(number=number, ends_in_s=(present + 1) * self._window_s - now)


class Counters:
    """Counts by key and window; `open_counters` makes one."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._away = (*redis.base_exceptions, OSError, TimeoutError) if redis is not None else ()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._windows: dict[int, Window] = {}
        self._probing: asyncio.Task[None] | None = None

    @property
    def local(self) -> bool:
        """Whether this process counts by itself at present."""
        return self._redis is None or self._probing is not None

    async def add(self, key: str, rate: Rate) -> Count:
        """Count it once more. Never raises for Redis being away: then this process counts."""
        if not self.local:
            count = await self._add_in_redis(f"{key}/{rate.window_s}", rate)
            if count is not None:
                return count
        window = self._windows.get(rate.window_s)
        if window is None:
            window = self._windows[rate.window_s] = Window(rate.window_s)
        return window.add(key)

    async def _add_in_redis(self, key: str, rate: Rate) -> Count | None:
        async with self._room:
            if self.local:
                return None
            try:
                async with asyncio.timeout(REDIS_S):
                    number = int(await self._redis.incr(key, rate.window_s))
                    ends_at = await self._redis.get_expiry(key) if number >= rate.amount else None
            except self._away as error:
                self._without_redis(error)
                return None
        left_s = rate.window_s if ends_at is None else ends_at - time.time()
        return Count(number=number, ends_in_s=max(0.0, float(left_s)))

    async def aclose(self) -> None:
        """Stop asking after Redis, and let go of its connections."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self._redis is not None:
            with contextlib.suppress(*self._away):
                await self._redis.bridge.get_connection().aclose()

    def _without_redis(self, error: Exception) -> None:
        if self._probing is None:  # several may have waited for the same answer
            self._probing = asyncio.create_task(self._probe(type(error).__name__), name="limits-redis")

    async def _probe(self, error: str) -> None:
        """Ask after Redis until it answers, so that no message has to wait to find out."""
        warned_at = -WARN_S
        while True:
            if time.monotonic() - warned_at >= WARN_S:
                warned_at = time.monotonic()
                log.warning("limits_counted_locally", error=error, note="Redis of RECADO_RATE_LIMIT_STORAGE is away")
            await asyncio.sleep(PROBE_S)
            with contextlib.suppress(*self._away):
                async with asyncio.timeout(REDIS_S):
                    await self._redis.get("probe")
                    break
        log.info("limits_counted_in_redis")
        self._probing = None


def open_counters(url: str) -> Counters:
    """Counters on `memory://` or a `redis://` address; connects at the first count.

    Raises SettingsError when the extra `redis` is not installed.
    """
    if url.startswith("memory:"):
        return Counters(None)
    try:
        from limits.aio.storage import RedisStorage
        from limits.errors import ConfigurationError
    except ImportError:
        raise SettingsError(_MISSING) from None
    try:
        storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix="recado",
            socket_timeout=REDIS_S,
            socket_connect_timeout=REDIS_S,
        )
    except ConfigurationError:
        raise SettingsError(_MISSING) from None
    return Counters(storage)


_MISSING = "RECADO_RATE_LIMIT_STORAGE: redis:// needs the extra `redis`: pip install 'recado[redis]'"
