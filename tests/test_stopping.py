"""A stop ends: tasks that swallow a cancellation are cancelled again; a process that hangs tells where, and goes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
import time

from recado import stopping


async def swallowing(times: int) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


async def test_a_task_that_swallows_a_cancellation_is_cancelled_until_it_has_ended() -> None:
    tasks = [asyncio.create_task(swallowing(times)) for times in (0, 1, 2)]
    await asyncio.sleep(0)
    assert await stopping.end(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_a_task_that_never_ends_is_left_and_told_of() -> None:
    task = asyncio.create_task(swallowing(10**6))
    await asyncio.sleep(0)
    began = time.monotonic()
    assert not await stopping.end(task, within_s=0.6)
    assert time.monotonic() - began < 30
    assert "test_stopping.py" in stopping._tasks_place(task)
    assert "swallowing" in stopping._tasks_place(task)
    with_it = task.get_coro()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    while not task.done():
        try:
            with_it.throw(RuntimeError)  # type: ignore[union-attr]
        except RuntimeError:
            break


async def test_a_thread_that_hangs_is_left_behind_and_one_that_fails_says_so() -> None:
    never = threading.Event()
    assert not await stopping.thread(never.wait, within_s=0.1)
    never.set()
    assert await stopping.thread(lambda: None, within_s=30)
    try:
        await stopping.thread(lambda: 1 / 0, within_s=30)  # type: ignore[arg-type, return-value]
    except ZeroDivisionError:
        return
    raise AssertionError


def run(script: str) -> tuple[int, list[dict[str, str]], float]:
    """How a process with this stop ends, what it logged, and how long it took."""
    source = """
        import asyncio, threading, time
        from recado import telemetry
        from recado.stopping import Deadline
        telemetry.configure(format="json", level="INFO")
    """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source) + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()], time.monotonic() - began


def test_a_process_whose_stop_hangs_tells_where_all_stand_without_a_value_and_ends() -> None:
    code, told, took_s = run("""
        from concurrent.futures import ThreadPoolExecutor
        async def waits_for_ever(word):
            secret = "segredo-" + word
            await asyncio.Event().wait()
        async def main():
            ThreadPoolExecutor().submit(time.sleep, 300)  # the interpreter would wait for it
            task = asyncio.create_task(waits_for_ever("do contato"), name="waiting")
            Deadline(slow_s=0.5, ends_s=1.0).begin(asyncio.get_running_loop())
            await task
        asyncio.run(main())
    """)
    assert code == 1
    assert took_s < 50
    places = {line.get("task"): line.get("place", "") for line in told if line["event"] == "stop_is_slow"}
    assert "waits_for_ever" in places["waiting"]
    assert "main" in places["MainThread"] or "run" in places["MainThread"]
    assert told[-1]["event"] == "stopped_by_force"
    assert "segredo" not in json.dumps(told)


def test_a_process_that_ends_in_time_is_left_alone() -> None:
    code, told, _ = run("""
        deadline = Deadline(slow_s=20, ends_s=30)
        deadline.begin()
    """)
    assert (code, told) == (0, [])
