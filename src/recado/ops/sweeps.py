"""When each sweep of a worker runs: by itself, at its own pace, and bounded, so that none waits for another.

A sweep that fails, or takes longer than it may, is logged and comes again after its pause; the others know nothing of
it. What each does is in `recovery`, `again` and `privacy`. What has its times and is done once over all workers is a
job (`jobs`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from recado.channels.port import Sender
from recado.clock import Clock
from recado.db.pool import PASSING, Pool
from recado.ops import again, proving, recovery
from recado.ops.engine import process
from recado.ops.privacy import erase
from recado.ops.privacy.running import EraseDesk
from recado.stopping import AGAIN_S

log = structlog.get_logger(__name__)

#: What is looked for often, because somebody waits for it.
SOON_S = 10.0
NUMBERS_S = 60.0
ERASURES_S = 2.0
#: How long one run may take, if nothing else is said.
BOUND_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What is done again and again; a run that takes longer than `bound_s` is ended.

    It runs first `first_s` after the worker's start, then every `period_s`.
    """

    name: str
    period_s: float
    run: Callable[[], Awaitable[object]]
    bound_s: float = BOUND_S
    first_s: float = SOON_S


async def keep(sweeps: Sequence[Sweep]) -> None:
    """Run each in its own task until this one is cancelled, and then leave none behind.

    Not a task group: that cancels its tasks once, and one whose library swallows a cancellation (`recado.stopping`)
    would go on for ever.
    """
    left = {asyncio.create_task(_repeat(sweep), name=f"sweep-{sweep.name}") for sweep in sweeps}
    ending = False
    while left:
        try:
            _, left = await asyncio.wait(left, timeout=AGAIN_S if ending else None)
        except asyncio.CancelledError:
            ending = True
        if ending:
            for task in left:
                task.cancel()
    if ending:
        raise asyncio.CancelledError


async def _repeat(sweep: Sweep) -> None:
    pause_s = sweep.first_s
    while True:
        # Not all at once, nor all workers at once.
        await asyncio.sleep(pause_s * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
        pause_s = sweep.period_s
        try:
            async with asyncio.timeout(sweep.bound_s):
                await sweep.run()
        except PASSING as error:
            log.warning("database_unavailable", task=sweep.name, error=type(error).__name__)
        except TimeoutError:
            log.warning("sweep_too_long", task=sweep.name, bound_s=sweep.bound_s)
        except Exception:
            log.exception("sweep_failed", task=sweep.name)


def of_a_worker(
    *,
    pool: Pool,
    platform: Pool,
    clock: Clock,
    sender_of: Callable[[UUID, UUID], Awaitable[Sender]],
    listed_of: Callable[[UUID, UUID], Awaitable[frozenset[str] | None]],
    at_work: timedelta,
    erasing: EraseDesk | None = None,
) -> list[Sweep]:
    """All that every worker looks after; `at_work` is what a worker that has begun with an attachment may take.

    What is due is told by the database's clock: a worker whose own is minutes ahead must give up nothing of others.
    `listed_of` asks Twilio for the senders of an account, of owner and account; `erasing` is what erasures work
    with; None: there are none.
    """
    now = clock.now

    async def deliveries() -> None:
        await again.put_back_deliveries(platform, await _database_time(platform))

    async def arrivals() -> None:
        await again.put_back_arrivals(platform, await _database_time(platform))

    def soon(name: str, run: Callable[[], Awaitable[object]]) -> Sweep:
        return Sweep(name=name, period_s=SOON_S, run=run)

    return [
        soon("stray_media", partial(recovery.fetch_stray_media, platform)),
        soon("late_media", partial(recovery.give_up_late_media, platform, at_work=at_work)),
        soon("strays", partial(recovery.give_work_to_strays, platform)),
        soon("silent", partial(recovery.ask_after_silent, platform, pool, sender_of)),
        soon("unstarted", lambda: asyncio.to_thread(process.give_back_unstarted)),
        soon("held_deliveries", deliveries),
        soon("held_arrivals", arrivals),
        *(
            []
            if erasing is None
            else [
                Sweep(
                    name="erasures",
                    period_s=ERASURES_S,
                    first_s=1.0,
                    run=partial(erase.carry_on, erasing),
                    bound_s=600.0,
                )
            ]
        ),
        Sweep(name="numbers", period_s=NUMBERS_S, run=lambda: proving.prove_numbers(platform, pool, listed_of, now())),
    ]


async def _database_time(platform: Pool) -> datetime:
    async with platform.connection() as conn:
        row = await (await conn.execute("SELECT clock_timestamp() AS now")).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM
    now: datetime = row["now"]
    return now
