"""Sweeps run beside each other: what fails, or takes too long, delays none of the others."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from recado.ops.sweeps import Sweep, keep


async def until(*sweeps: Sweep, done: asyncio.Event) -> None:
    keeping = asyncio.create_task(keep(sweeps))
    async with asyncio.timeout(20):
        await done.wait()
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


def sweep(name: str, run: object, *, bound_s: float = 60.0) -> Sweep:
    return Sweep(name=name, period_s=0.01, first_s=0.0, run=run, bound_s=bound_s)  # type: ignore[arg-type]


async def test_one_that_hangs_and_one_that_fails_delay_no_other() -> None:
    done, count, failures = asyncio.Event(), 0, 0

    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        nonlocal failures
        failures += 1
        raise RuntimeError("a fault of ours")

    async def work() -> None:
        nonlocal count
        count += 1
        if count >= 3 and failures >= 3:
            done.set()

    await until(sweep("hang", hang), sweep("fail", fail), sweep("work", work), done=done)
    assert count >= 3


async def test_one_that_takes_longer_than_it_may_is_ended_and_comes_again() -> None:
    done, count = asyncio.Event(), 0

    async def hang() -> None:
        nonlocal count
        count += 1
        if count == 2:
            done.set()
        await asyncio.Event().wait()

    await until(sweep("hang", hang, bound_s=0.01), done=done)


async def test_one_that_swallows_a_cancellation_ends_with_the_others() -> None:
    begun, swallowed = asyncio.Event(), 0

    async def swallow() -> None:
        nonlocal swallowed
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as a pool's wait does, when its connection comes at that moment
            swallowed += 1
            if swallowed > 1:
                raise

    await until(sweep("swallow", swallow), sweep("hang", asyncio.Event().wait), done=begun)
    assert swallowed == 2
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("sweep-")] == []
