"""Ending: tasks that are cancelled until they have ended, and a process that ends when it was told to.

Whatever hangs (a database that says nothing, a library's thread, a cancellation that was swallowed), a stop ends within
`ENDS_S`. One that takes longer than `SLOW_S` tells where every task and thread stands: files, lines and names of
functions, never a value.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

#: What is promised for SIGTERM is 20 s.
SLOW_S: Final = 18.0
ENDS_S: Final = 19.0
#: A task that has not ended this long after it was cancelled is cancelled again: `asyncio.wait_for` of Python 3.11
#: swallows a cancellation that comes as what it waits for does, and with it whatever library uses it.
AGAIN_S: Final = 0.5
_FRAMES: Final = 8


async def end(*tasks: asyncio.Future[Any], within_s: float = 5.0) -> bool:
    """Cancel the tasks until they have ended; whether they have. What they raise is nobody's concern any more."""
    deadline = time.monotonic() + within_s
    left = {task for task in tasks if not task.done()}
    while left and time.monotonic() < deadline:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()
    for task in left:
        log.error("task_does_not_end", task=_name(task), place=_tasks_place(task))
    return not left


async def thread(work: Callable[[], Any], *, within_s: float) -> bool:
    """Run `work` in a thread that nobody waits for longer; whether it ended in time. Raises what it raised.

    A daemon: an executor's thread is waited for when the interpreter ends, however long it hangs.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not outcome.done():
            outcome.set_result(None) if error is None else outcome.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, error)
        except RuntimeError:  # the loop has ended meanwhile
            return

    threading.Thread(target=run, daemon=True, name="ending").start()
    done, _ = await asyncio.wait({outcome}, timeout=within_s)
    if not done:
        outcome.cancel()
        return False
    outcome.result()
    return True


class Deadline:
    """From `begin` on the process has `ends_s` to end; then it is ended, its stacks told, with exit code 1."""

    def __init__(self, *, slow_s: float = SLOW_S, ends_s: float = ENDS_S) -> None:
        self._slow_s = slow_s
        self._ends_s = ends_s
        self._met = threading.Event()
        self._begun = False

    def begin(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """The stop has begun; without effect the second time."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._watch, args=[loop], daemon=True, name="deadline").start()

    def met(self) -> None:
        """All has ended that should."""
        self._met.set()

    def _watch(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if self._met.wait(self._slow_s):
            return
        tell_stacks(loop)
        if self._met.wait(self._ends_s - self._slow_s):
            return
        log.error("stopped_by_force", note="it did not end in time; what it had in work is taken over by another")
        leave(1)


def leave(code: int) -> None:
    """End the process now, whatever threads it has, once its log lines are out."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
    os._exit(code)


def has_threads() -> bool:
    """Whether threads are left that the interpreter would wait for at its end."""
    return any(one is not threading.main_thread() and not one.daemon for one in threading.enumerate())


def tell_stacks(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Log where each thread stands, and each task of the loop."""
    frames = sys._current_frames()  # noqa: SLF001 - documented, for debuggers
    for one in threading.enumerate():
        log.error("stop_is_slow", kind="thread", task=one.name, place=_thread_place(frames.get(one.ident or 0)))
    if loop is not None:
        for task in _tasks_of(loop):
            log.error("stop_is_slow", kind="task", task=_name(task), place=_tasks_place(task))


def _tasks_of(loop: asyncio.AbstractEventLoop) -> Iterable[asyncio.Task[Any]]:
    for _ in range(10):  # another thread's: it may change while it is read
        try:
            return asyncio.all_tasks(loop)
        except RuntimeError:
            continue
    return ()


def _name(task: asyncio.Future[Any]) -> str:
    return task.get_name() if isinstance(task, asyncio.Task) else type(task).__name__


def _thread_place(frame: FrameType | None) -> str:
    lines = []
    while frame is not None:
        lines.append(f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(lines[:_FRAMES])


def _tasks_place(task: asyncio.Future[Any]) -> str:
    """Where a task waits, the innermost first: the coroutines that await one another."""
    lines: list[str] = []
    waits: Any = task.get_coro() if isinstance(task, asyncio.Task) else None
    while waits is not None and len(lines) < 40:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None) or getattr(waits, "ag_frame", None)
        if frame is not None:
            lines.append(f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}")
        waits = (
            getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None) or getattr(waits, "ag_await", None)
        )
    return " < ".join(reversed(lines[-_FRAMES:]))


def _short(path: str) -> str:
    return "/".join(path.replace("\\", "/").rsplit("/", 2)[-2:])
