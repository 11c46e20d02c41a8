"""`recado serve` as a process, and what tests of it do: ask, write as Twilio does, and wait."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.fleet import free_port
from tests.journey.front import signature_of
from tests.product import INBOUND

WAIT_S = 60.0


def until(true: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


class Serving:
    """The command, and the worker beside it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "serve.log"
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recado", "serve", "--port", str(self.port)],
                env=env | {"RECADO_HOME": str(home), "RECADO_PUBLIC_URL": self.url} | settings,
                stdout=log,
                stderr=log,
            )

    def get(self, path: str) -> int:
        return _asked(self.url + path)

    def post(self, fields: Sequence[tuple[str, str]], token: str) -> int:
        """A webhook, signed as Twilio signs it."""
        url = self.url + INBOUND
        signed = {"X-Twilio-Signature": signature_of(url, token, fields)}
        return _asked(urllib.request.Request(url, urllib.parse.urlencode(fields).encode(), signed))

    def workers(self) -> list[psutil.Process]:
        found = []
        for one in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it has just died
                if "worker" in one.cmdline():
                    found.append(one)
        return found

    def told(self) -> str:
        return self.log.read_text(errors="replace")

    def until_ready(self) -> None:
        until(self._answers, self.told)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=30) as response:
                return b"no live worker" not in response.read()
        except OSError:
            return False


def _asked(what: str | urllib.request.Request) -> int:
    """The answer's status; 0 when there was none."""
    try:
        with urllib.request.urlopen(what, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


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
