"""The product as real processes, with a supervisor that starts again what died, for tests that kill."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from recado.assistants import assistant
from recado.channels.twilio import accounts
from recado.db.scope import scoped
from recado.identity import owners
from recado.settings import Settings
from recado.simulator import app as simulator
from recado.simulator.client import SimulatorClient
from recado.simulator.engine import Pace
from recado.wiring import wire
from tests.nursery import Child, Nursery

T = TypeVar("T")
ACCOUNT_SID, TOKEN, NUMBER = "AC" + "c" * 32, "chaos_token", "whatsapp:+14155238886"
INBOUND = "/channels/twilio/v1/webhooks/inbound"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(slots=True)
class Member:
    """One process, and how to start it again."""

    name: str
    arguments: list[str]
    env: dict[str, str]
    log: Path
    nursery: Nursery
    process: Child | None = None
    deaths: int = 0
    retired: bool = False

    def start(self) -> None:
        self.retired = False
        self.process = self.nursery.start(self.arguments, env=self.env, log=self.log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


@dataclass(slots=True)
class Fleet:
    """API and worker processes over one embedded database, and a simulator in a thread of this process."""

    home: Path
    apis: int = 2
    workers: int = 2
    settings: dict[str, str] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(sent_ms=15, delivered_ms=30))
    members: dict[str, Member] = field(default_factory=dict)
    simulator_url: str = ""
    api_urls: list[str] = field(default_factory=list)
    _nursery: Nursery | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Fleet:
        try:
            return self._begin()
        except BaseException:
            self.__exit__()
            raise

    def _begin(self) -> Fleet:
        ready = threading.Event()
        self._nursery = self._make_nursery()
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._simulate(ready)), daemon=True))
        self._threads[0].start()
        assert ready.wait(60)
        asyncio.run(self._set_up())
        ports = [free_port() for _ in range(self.apis)]
        self.api_urls = [f"http://127.0.0.1:{port}" for port in ports]
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | {
            "RECADO_HOME": str(self.home),
            "RECADO_TWILIO_API_URL": self.simulator_url,
            "RECADO_PUBLIC_URL": self.api_urls[0],
            "RECADO_QUIET_WINDOW_MS": "150",
            **self.settings,
        }
        for index, port in enumerate(ports):
            public = {"RECADO_PUBLIC_URL": self.api_urls[index]}
            self._add(f"api{index}", ["api", "--port", str(port)], env | public)
        for index in range(self.workers):
            self._add(f"worker{index}", ["worker"], env)
        for url in self.api_urls:
            self._until_up(url + "/readyz")
        self._threads.append(threading.Thread(target=self._supervise, daemon=True))
        self._threads[1].start()
        return self

    def _make_nursery(self) -> Nursery:
        return Nursery()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads[1:]:
            thread.join(5)
        for member in self.members.values():
            member.kill(signal.SIGTERM)
        for member in self.members.values():
            if member.process is not None:
                try:
                    member.process.wait(25)
                except subprocess.TimeoutExpired:
                    member.kill()
                    member.process.wait()
        for thread in self._threads[:1]:
            thread.join(15)
        if self._nursery is not None:
            self._nursery.close()

    def _add(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        assert self._nursery is not None
        member = Member(name, arguments, env, self.home / f"{name}.log", self._nursery)
        self.members[name] = member
        member.start()

    def _until_up(self, url: str, timeout_s: float = 150.0) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if b"no live worker" not in answer.read():
                        return
            except OSError:
                pass
            assert time.monotonic() < deadline, f"{url} did not come up: {self.logs()}"
            time.sleep(0.1)

    def _supervise(self) -> None:
        while not self._ended.wait(0.1):
            for member in list(self.members.values()):
                if member.retired or member.process is None or self._ended.is_set():
                    continue
                if member.process.poll() is not None:
                    member.deaths += 1
                    member.start()

    async def _simulate(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        settings = simulator.SimulatorSettings(port=0, pace=self.pace)
        async with simulator.running(settings) as url:
            self.simulator_url = url
            ready.set()
            while not self._ended.is_set() or any(
                member.process is not None and member.process.poll() is None for member in self.members.values()
            ):
                await asyncio.sleep(0.05)

    async def _set_up(self) -> None:
        async with wire(Settings(home=self.home, database_url=None, secret_keys=None, _env_file=None)) as wiring:
            async with await wiring.connect("recado_platform") as conn:
                owner = await owners.add(conn, "Chaos")
            async with scoped(wiring.pool, owner.id) as scope:
                await accounts.add_account(scope, wiring.keyring, account_sid=ACCOUNT_SID, auth_token=TOKEN)
                made = await assistant.ensure_default(scope)
                await accounts.add_number(scope, account_sid=ACCOUNT_SID, address=NUMBER, assistant_id=made.id)
        async with SimulatorClient(self.simulator_url) as client:
            await client.add_account(ACCOUNT_SID, TOKEN)

    def call(self, work: Callable[[SimulatorClient], Awaitable[T]], timeout_s: float = 60) -> T:
        """Talk to the simulator, in its loop."""

        async def run() -> T:
            async with SimulatorClient(self.simulator_url) as client:
                return await work(client)

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout_s)

    def retire(self, name: str, number: int = signal.SIGTERM) -> None:
        """Signal a process that the supervisor leaves alone from then on."""
        self.members[name].retired = True
        self.members[name].kill(number)

    def kill_postgres(self) -> None:
        """`kill -9` of the postmaster; the keeper starts it again."""
        with suppress(FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            os.kill(int((self.home / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def logs(self, lines: int = 15) -> dict[str, Any]:
        """The end of each process's log, for a failing test's message."""
        return {
            name: member.log.read_text(errors="replace").splitlines()[-lines:] if member.log.exists() else []
            for name, member in self.members.items()
        }
