"""The worker of `recado serve`: a process beside the API's, so that webhooks are answered whatever a turn does.

The two are tied by a pair of sockets. The worker says on it that it works; and when the API's end is gone, because that
process was killed, the worker stops as if it had been told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Final

import structlog

from recado.metrics.endpoint import ASKED, Beside
from recado.stopping import end

log = structlog.get_logger("recado")

#: In the worker's environment: the descriptor of its end. Not a setting, and not to be set by people.
TIE: Final = "_RECADO_TIE"
#: A worker that ended is started again after this, after twice as long the next time, and so on.
PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: And after the shortest again, once one has worked for so long.
STEADY_S: Final = 60.0
#: The worker ends by itself within 19 s of SIGTERM; what doesn't is killed.
ENDS_S: Final = 19.2


async def keep_worker(stop: asyncio.Event, queues: Sequence[str], metrics: Beside | None = None) -> int:
    """Have a worker process until `stop` is set; then it is stopped. Answers the exit code of the whole.

    One that never came to work, because of a setting for instance, has said why: then `stop` is set here. One that a
    signal ended is started again, whether it had come to work or not. With `metrics` its page is asked for there.
    """
    pause_s, has_worked = PAUSE_S, False
    while True:
        began = time.monotonic()
        ours, theirs = socket.socketpair()
        down, environment = [theirs], {**os.environ, TIE: str(theirs.fileno())}
        if metrics is not None:
            down.append(metrics.replace())
            environment[ASKED] = str(down[1].fileno())
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "recado", "worker", "--queues", ",".join(queues)),
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
                pass_fds=[given.fileno() for given in down],
            )
        finally:
            for given in down:
                given.close()
        with ours:
            ours.setblocking(False)
            log.info("worker_process_started", code=process.pid)
            if await _ended(process, stop):
                code = await _stopped(process)
                return 0 if code == 0 else 1
            has_worked = has_worked or _has_worked(ours)
        code = process.returncode or 0
        if code == 2 or (code > 0 and not has_worked):
            log.error("worker_could_not_start", code=code)
            stop.set()
            return code
        if time.monotonic() - began > STEADY_S:
            pause_s = PAUSE_S
        log.error("worker_process_ended", code=code, retry_in_s=pause_s)
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting}, timeout=pause_s)
        await end(waiting)
        if stop.is_set():
            return 0
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


async def _ended(process: Process, stop: asyncio.Event) -> bool:
    """Wait until the process has ended or is to; whether it is to."""
    waiting = [asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await end(*waiting)
    return stop.is_set()


async def _stopped(process: Process) -> int:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        waiting = asyncio.create_task(process.wait())
        await asyncio.wait({waiting}, timeout=ENDS_S)
        if not waiting.done():
            log.error("worker_process_killed", note="it did not stop in time; its work is taken over by another")
            process.kill()
        await waiting
    return process.returncode or 0


def _has_worked(ours: socket.socket) -> bool:
    try:
        return ours.recv(1) != b""
    except OSError:
        return False


class Tie:
    """The worker's end: whether somebody started it to work beside them, and still lives."""

    def __init__(self) -> None:
        given = os.environ.pop(TIE, None)  # what it starts itself is not tied to anybody
        self._socket: socket.socket | None = None
        if given is not None:
            self._socket = socket.socket(fileno=int(given))
            self._socket.set_inheritable(False)
            threading.Thread(target=self._watch, daemon=True, name="tie").start()

    def works(self) -> None:
        """Tell that the worker has begun to work."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # `_watch` hears of it
                self._socket.send(b"w")

    def _watch(self) -> None:
        assert self._socket is not None  # noqa: S101 - only then it runs
        with contextlib.suppress(OSError):
            self._socket.recv(1)  # nothing ever comes, but its end
        os.kill(os.getpid(), signal.SIGTERM)
