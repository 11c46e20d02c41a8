"""When a job runs next: pure, told the moment and the time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """Again so many seconds after the last run has ended."""

    seconds: float

    def next(self, now: datetime, zone: tzinfo) -> datetime:
        """The moment after `now` at which it is due."""
        return now + timedelta(seconds=self.seconds)

    def shown(self, zone: tzinfo) -> str:
        """For people."""
        for name, size in (("h", 3600), ("min", 60)):
            if self.seconds >= size and self.seconds % size == 0:
                return f"{self.seconds / size:.0f} {name}"
        return f"{self.seconds:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """Once a day at that time of the clocks on the wall.

    On the day on which that time does not exist it is an hour later, and of two such times it is the first.
    """

    at: time

    def next(self, now: datetime, zone: tzinfo) -> datetime:
        """The first such moment after `now`."""
        day = now.astimezone(zone).date()
        while True:
            moment = datetime.combine(day, self.at, tzinfo=zone).astimezone(UTC)
            if moment > now:
                return moment
            day += timedelta(days=1)

    def shown(self, zone: tzinfo) -> str:
        """For people."""
        return f"day at {self.at:%H:%M} {getattr(zone, 'key', 'UTC')}"


Schedule = Every | Daily
