"""Time that the tests own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class TestClock:
    """Time that stands still until the test moves it; who sleeps by it wakes when it has got there."""

    __test__ = False

    moment: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    passed_s: float = 0.0
    _asleep: list[tuple[datetime, asyncio.Future[None]]] = field(default_factory=list)

    def now(self) -> datetime:
        return self.moment + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep_until(self, moment: datetime) -> None:
        if moment <= self.now():
            return
        wakes = asyncio.get_running_loop().create_future()
        self._asleep.append((moment, wakes))
        await wakes

    async def asleep(self) -> datetime:
        """When the first of those wakes who sleep, as soon as anybody does."""
        while not (waiting := [moment for moment, wakes in self._asleep if not wakes.done()]):
            await asyncio.sleep(0.002)
        return min(waiting)

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        self.passed_s += seconds + 60 * (minutes + 60 * (hours + 24 * days))
        self._asleep, due = (
            [one for one in self._asleep if one[0] > self.now()],
            [one for one in self._asleep if one[0] <= self.now()],
        )
        for _, wakes in due:
            if not wakes.done():
                wakes.set_result(None)
