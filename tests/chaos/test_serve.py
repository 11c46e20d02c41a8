"""`recado serve`: webhooks are answered whatever the worker does, and the two processes end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.chaos.test_chaos import home as home
from tests.fleet import free_port

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
WAIT_S = 60.0


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Serving:
    """The command, and the worker beside it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.port = free_port()
        self.log = home / "serve.log"
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recado", "serve", "--port", str(self.port)],
                env=env | {"RECADO_HOME": str(home)} | settings,
                stdout=log,
                stderr=log,
            )

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def workers(self) -> list[psutil.Process]:
        found = []
        for one in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it has just died
                if "worker" in one.cmdline():
                    found.append(one)
        return found

    def until_ready(self) -> None:
        until(lambda: self.get("/readyz") == 200, self.log.read_text())


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[Serving]:
    made = Serving(home, **settings)
    try:
        yield made
    finally:
        with suppress(psutil.NoSuchProcess):
            for one in made.workers():
                one.kill()
        made.process.kill()
        made.process.wait()


def test_webhooks_and_health_are_answered_while_the_worker_is_stuck_and_both_end_in_time(home: Path) -> None:
    with serving(home) as served:
        served.until_ready()
        [worker] = served.workers()
        worker.suspend()  # as a computation does that keeps the interpreter, and for longer
        for _ in range(20):
            assert served.get("/healthz") == 200
            assert served.get("/channels/twilio/v1/webhooks/inbound") == 405, "the door answers"
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 1, "the worker had to be killed"
        assert time.monotonic() - began < 25
        assert not worker.is_running()
        assert "worker_process_killed" in served.log.read_text()


def test_a_worker_that_dies_is_started_again_and_sigterm_ends_both(home: Path) -> None:
    with serving(home) as served:
        served.until_ready()
        [first] = served.workers()
        first.kill()
        until(lambda: [one.pid for one in served.workers()] not in ([], [first.pid]), "no other worker")
        served.until_ready()
        [second] = served.workers()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.log.read_text()
        assert not second.is_running()
        told = served.log.read_text()
        assert "worker_process_ended" in told
        assert "worker_stopped" in told, "its lines are among ours"


def test_when_the_command_is_killed_its_worker_ends_too(home: Path) -> None:
    with serving(home) as served:
        served.until_ready()
        [worker] = served.workers()
        served.process.kill()
        served.process.wait()
        worker.wait(60)


def test_a_setting_that_the_worker_can_not_use_ends_the_command_with_what_is_wrong(home: Path) -> None:
    with serving(home, RECADO_MODEL="nobody:nothing") as served:
        assert served.process.wait(60) == 2
        assert "RECADO_MODEL" in served.log.read_text()
