"""The clock as a dependency: tests own it, the product reads UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


def uptime() -> float:
    """Seconds that go on while this process is stopped and while its machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock(Protocol):
    """Where a step gets the time from."""

    def now(self) -> datetime:
        """The present moment, with time zone UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for durations."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
