"""The clock as a dependency: tests own it, the product reads UTC and waits by it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo


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

    async def sleep_until(self, moment: datetime) -> None:
        """Wait until it is that moment; not at all when it has passed.

        A clock that is set meanwhile makes the wait no longer: what follows looks at the time again.
        """
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep_until(self, moment: datetime) -> None:
        await asyncio.sleep(max(0.0, (moment - self.now()).total_seconds()))


def zone_of(name: str) -> tzinfo:
    """The time zone of that name of the IANA's list. Raises ValueError for one that is not known here."""
    if name.upper() == "UTC":
        return UTC  # known also where no list is installed
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError("must be a time zone, for instance America/Sao_Paulo") from None
