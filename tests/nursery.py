"""Processes of `recado` that start at once: each is a fork of one process that has loaded the product already.

Loading it is most of what a start costs, and tests that kill start many. A fork is as much a process of its own: with
its own id, environment, log and death. What `python -m recado` does before `main()` is tested with the command line.

Run as a program it is that process: one JSON line in for each process to start, one out for each that began or ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True, eq=False)
class Child:
    """A process, as `subprocess.Popen` shows one."""

    pid: int
    nursery: Nursery = field(repr=False)

    @property
    def returncode(self) -> int | None:
        return self.nursery.ended.get(self.pid)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        with self.nursery.changed:
            if not self.nursery.changed.wait_for(lambda: self.returncode is not None, timeout):
                raise subprocess.TimeoutExpired("recado", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        # Its parent is the nursery, which says that it has ended as soon as it may become another's id.
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process whose forks they are; leaving it kills those that are left.

    `release` is a folder with another release's package, which is loaded instead of this tree's.
    """

    def __init__(self, release: Path | None = None) -> None:
        self.ended: dict[int, int] = {}
        self.changed = threading.Condition()
        self._began: list[int] = []
        self._lock = threading.Lock()
        folders = [*([str(release)] if release else []), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
        path = os.pathsep.join(filter(None, folders))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, arguments: list[str], *, env: dict[str, str], log: Path) -> Child:
        """`recado ARGUMENTS` in that environment, writing to the end of the log."""
        with self._lock:
            assert self._process.stdin is not None
            asked = {"arguments": arguments, "env": env, "log": str(log)}
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            with self.changed:
                assert self.changed.wait_for(lambda: self._began or self._process.poll() is not None, 60)
                return Child(self._began.pop(0), self)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self.changed:
                if "code" in told:
                    self.ended[told["pid"]] = told["code"]
                else:
                    self._began.append(told["pid"])
                self.changed.notify_all()

    def close(self) -> None:
        """End the process and what is left of its forks."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()


def _serve() -> dict[str, Any] | None:
    """Fork at each line; a fork leaves with what it was asked to do, the first process with None at its input's end."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    running: set[int] = set()
    rest = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1024)
            _reap(running)
        if 0 in ready:
            given = os.read(0, 65536)
            if not given:
                break
            *lines, rest = (rest + given).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(woken)
                    os.close(wake)
                    return dict(json.loads(line))
                running.add(pid)
                print(json.dumps({"pid": pid}), flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return None


def _reap(running: set[int]) -> None:
    for pid in list(running):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            running.discard(pid)
            print(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}), flush=True)


def _become(asked: dict[str, Any]) -> None:
    """Be what a new process would be with this environment and these arguments."""
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for mine, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(mine, number)
    os.close(log)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["recado", *asked["arguments"]]
    for folder in filter(None, asked["env"].get("PYTHONPATH", "").split(os.pathsep)):
        if (custom := Path(folder, "sitecustomize.py")).is_file():
            runpy.run_path(str(custom))


if __name__ == "__main__":
    gc.disable()
    for name in ("pydantic_ai.models.openai", "recado.app", "recado.cli.commands", "recado.worker", "uvloop"):
        importlib.import_module(name)
    from recado.cli import main

    assert threading.active_count() == 1, "a fork has one thread only"
    gc.freeze()
    if (mine := _serve()) is not None:
        gc.enable()
        _become(mine)
        main()
