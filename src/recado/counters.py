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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from recado.errors import SettingsError
from recado.settings import Rate
from recado.stopping import end

log = structlog.get_logger(__name__)

#: A count in Redis is there within this, the wait for its turn included, or Redis is away: longer, and its trouble
#: would be every message's.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What is counted: a key of a limit (its kind), in windows of its rate."""

    kind: str
    key: str
    rate: Rate

    @property
    def in_redis(self) -> str:
        """The key's name where all processes count."""
        return f"recado:{self.kind}/{self.key}/{self.rate.window_s}"


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

    def take_back(self, key: str) -> None:
        """Count it once less, if it was counted in this window."""
        if self._present == int(time.time() / self._window_s) and self._counts.get(key):
            self._counts[key] -= 1


#: Count each key once more, up to the first that is over its amount: one round trip for all limits of a message.
_ADD = """
local counts = {}
for i, key in ipairs(KEYS) do
  local number = redis.call('INCR', key)
  if number == 1 then redis.call('EXPIRE', key, ARGV[2 * i - 1]) end
  counts[i] = {number, redis.call('TTL', key)}
  if number > tonumber(ARGV[2 * i]) then break end
end
return counts
"""
_TAKE_BACK = """
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') > 0 then redis.call('DECR', key) end
end
"""


class Counters:
    """Counts by key and window; `open_counters` makes one."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._away = (*redis.base_exceptions, OSError, TimeoutError) if redis is not None else ()
        client = None if redis is None else redis.bridge.get_connection()
        self._scripts = {} if client is None else {text: client.register_script(text) for text in (_ADD, _TAKE_BACK)}
        self._room = asyncio.Semaphore(AT_ONCE)
        # One for each limit: who fills one up makes only that one begin anew.
        self._windows: dict[tuple[str, int], Window] = {}
        self._probing: asyncio.Task[None] | None = None
        self._warned_at = -WARN_S

    @property
    def local(self) -> bool:
        """Whether this process counts by itself at present."""
        return self._redis is None or self._probing is not None

    async def add(self, *wanted: Counted) -> list[Count]:
        """Count each once more, in their order, up to the first that is over its amount: that count is the last.

        Never raises for Redis being away or slow: then this process counts.
        """
        if not self.local:
            limits = [number for one in wanted for number in (one.rate.window_s, one.rate.amount)]
            found = await self._run(_ADD, wanted, limits)
            if found is not None:
                return [Count(number=number, ends_in_s=max(0.0, float(left_s))) for number, left_s in found]
        counts = []
        for one in wanted:
            counts.append(self._window(one).add(one.key))
            if counts[-1].number > one.rate.amount:
                break
        return counts

    async def take_back(self, *counted: Counted) -> None:
        """Count each once less; of a window that is over, nothing."""
        if self.local or await self._run(_TAKE_BACK, counted, []) is None:
            for one in counted:
                self._window(one).take_back(one.key)

    def _window(self, counted: Counted) -> Window:
        which = (counted.kind, counted.rate.window_s)
        window = self._windows.get(which)
        if window is None:
            window = self._windows[which] = Window(counted.rate.window_s)
        return window

    async def _run(self, script: str, counted: Sequence[Counted], arguments: list[int]) -> list[Any] | None:
        """What the script says of those keys; None when this process has to count."""
        try:
            async with asyncio.timeout(REDIS_S), self._room:
                if self.local:
                    return None
                return await self._scripts[script](keys=[one.in_redis for one in counted], args=arguments) or []
        except self._away as error:
            self._without_redis(error)
            return None

    async def aclose(self) -> None:
        """Stop asking after Redis, and let go of its connections."""
        if self._probing is not None:
            await end(self._probing)
        if self._redis is not None:
            with contextlib.suppress(*self._away):
                await self._redis.bridge.get_connection().aclose()

    def _without_redis(self, error: Exception) -> None:
        if self._probing is None:  # several may have waited for the same answer
            self._probing = asyncio.create_task(self._probe(type(error).__name__), name="limits-redis")

    async def _probe(self, error: str) -> None:
        """Ask after Redis until it answers, so that no message has to wait to find out."""
        warned = False
        while True:
            if time.monotonic() - self._warned_at >= WARN_S:
                self._warned_at, warned = time.monotonic(), True
                log.warning(
                    "limits_counted_locally", error=error, note="Redis of RECADO_RATE_LIMIT_STORAGE is away or slow"
                )
            await asyncio.sleep(PROBE_S)
            with contextlib.suppress(*self._away):
                async with asyncio.timeout(REDIS_S):
                    await self._redis.get("probe")
                    break
        if warned:  # one that is slow for everybody is quick enough for a single question, again and again
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
