"""How late the event loop is: what keeps it, a computation for instance, keeps everything else that waits in it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import structlog

log = structlog.get_logger(__name__)

EVERY_S: Final = 0.1
#: From so late on it is logged, at most once in so many seconds.
LATE_S: Final = 0.25
QUIET_S: Final = 10.0
#: What `worst_lately_s` looks back on.
LATELY_S: Final = 60.0


@dataclass(slots=True)
class Lag:
    """What was measured in this process: the present lag, the worst since it was last asked for, and how often late."""

    now_s: float = 0.0
    worst_s: float = 0.0
    times_late: int = 0
    _lately: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def take_worst_s(self) -> float:
        """The worst since the last call."""
        worst, self.worst_s = self.worst_s, 0.0
        return worst

    def worst_lately_s(self, now: float) -> float:
        """The worst within the last `LATELY_S`, or up to twice that; whoever asks takes it from nobody."""
        self._onward(now)
        return max(self._lately[1:])

    def measured(self, now_s: float, now: float) -> None:
        """It is so late now; `now` is a moment of `time.monotonic`."""
        self.now_s = now_s
        self.worst_s = max(self.worst_s, now_s)
        self._onward(now)
        began, worst, before = self._lately
        self._lately = (began, max(worst, now_s), before)

    def _onward(self, now: float) -> None:
        began, worst, _ = self._lately
        if now - began >= LATELY_S:
            self._lately = (now, 0.0, worst if now - began < 2 * LATELY_S else 0.0)


#: That of this process, for whoever shows it.
OF_PROCESS = Lag()


async def watch(lag: Lag = OF_PROCESS) -> None:
    """Measure until cancelled; say when the loop was late, with how late at worst and how often since last said."""
    said, worst_s, times = -QUIET_S, 0.0, 0
    while True:
        due = time.monotonic() + EVERY_S
        await asyncio.sleep(EVERY_S)
        now = time.monotonic()
        lag.measured(max(0.0, now - due), now)
        if lag.now_s >= LATE_S:
            lag.times_late += 1
            worst_s, times = max(worst_s, lag.now_s), times + 1
        if times and now - said >= QUIET_S:
            log.warning("event_loop_late", duration_ms=round(worst_s * 1000), count=times)
            said, worst_s, times = now, 0.0, 0
