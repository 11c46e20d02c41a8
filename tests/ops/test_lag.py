"""How late the loop is: measured, and said once in a while when something keeps it."""

from __future__ import annotations

import asyncio
import time

from structlog.testing import capture_logs

from recado.ops import lag


async def test_what_keeps_the_loop_is_measured_and_said_once() -> None:
    measured = lag.Lag()
    with capture_logs() as told:
        watching = asyncio.create_task(lag.watch(measured))
        for _ in range(3):
            await asyncio.sleep(0.15)
            time.sleep(0.5)  # noqa: ASYNC251 - what keeps the loop
        await asyncio.sleep(0.15)
        watching.cancel()
    assert measured.times_late >= 3
    assert measured.take_worst_s() >= lag.LATE_S
    assert measured.worst_s == 0.0
    late = [line for line in told if line["event"] == "event_loop_late"]
    assert len(late) == 1
    assert set(late[0]) == {"event", "log_level", "duration_ms", "count"}
