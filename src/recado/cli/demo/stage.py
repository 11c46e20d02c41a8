"""The demo's stage: a local Twilio, an embedded PostgreSQL, the API and two workers as processes, and an owner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import aiohttp

from recado.assistants import assistant as assistants
from recado.assistants import knowledge
from recado.assistants.knowledge import Entry
from recado.channels.twilio import accounts
from recado.db.scope import scoped
from recado.errors import RecadoError
from recado.identity import owners
from recado.media.voice.weights import WeightsMissing, base_model_folder
from recado.settings import PREFIX, load
from recado.simulator.app import running
from recado.simulator.client import SimulatorClient
from recado.wiring import Wiring, wire

T = TypeVar("T")

OWNER = "Padaria Central"
NUMBER = "whatsapp:+14155238886"
WEBHOOK = "/channels/twilio/v1/webhooks/inbound#rc=3&rp=ct,rt,5xx"
KNOWLEDGE = "padaria.md"
SPLIT_CHARS = 1500
WORKERS = ("worker-1", "worker-2")

READY_S = 60.0
#: A worker that is told to stop finishes or hands back within 20 s.
STOP_S = 22.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All that runs, and how to reach it."""

    home: Path
    api_url: str
    phone: SimulatorClient
    wiring: Wiring
    processes: Processes
    owner_id: UUID
    account_sid: str
    entries: dict[str, str]
    hears: bool

    @property
    def where(self) -> str:
        """One line about what runs where."""
        return f"API {self.api_url}, local Twilio {self.phone.base_url}"


@dataclass(slots=True, kw_only=True)
class Processes:
    """The product's processes, each in a session of its own: Ctrl-C reaches the demo, and the demo stops them."""

    folder: Path
    environment: dict[str, str]
    metrics_port: int | None = None
    _running: dict[str, Process] = field(default_factory=dict)
    #: Where the metrics of each are: from `metrics_port` on, the first that none of them has.
    metrics: dict[str, int] = field(default_factory=dict)

    async def start(self, name: str, *arguments: str) -> None:
        """Start `recado ARGUMENTS`; what it writes goes to NAME.log."""
        await _whole(self._start(name, arguments))

    async def _start(self, name: str, arguments: tuple[str, ...]) -> None:
        if self.metrics_port is not None:
            taken = {port for other, port in self.metrics.items() if other in self._running}
            self.metrics[name] = next(port for port in count(self.metrics_port) if port not in taken)
            arguments = (*arguments, "--metrics-port", str(self.metrics[name]))
        with (self.folder / f"{name}.log").open("wb") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "recado",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Here is no `.env` that could change what is shown.
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise RecadoError, with the end of its log, when a process has ended by itself."""
        for name, process in self._running.items():
            if process.returncode is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise RecadoError(f"{name} ended with {process.returncode}: {' | '.join(tail)}")

    async def kill(self, pid: int) -> str:
        """`kill -9` the process of this id and answer its name. Raises RecadoError when it is none of ours."""
        for name, process in list(self._running.items()):
            if process.pid == pid:
                process.kill()
                await process.wait()
                del self._running[name]
                self.metrics.pop(name, None)
                return name
        raise RecadoError(f"process {pid} is not one of the demo's")

    async def stop(self) -> None:
        """Stop all, workers with time to finish; what does not end in time is killed."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        waiting = [asyncio.create_task(process.wait()) for process in self._running.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=STOP_S)
        for process in self._running.values():
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        await asyncio.gather(*waiting)
        self._running.clear()


@asynccontextmanager
async def staged(home: Path, tell: Callable[[str], None], *, metrics_port: int | None = None) -> AsyncIterator[Stage]:
    """The stage, ready to play on; at the end nothing of it runs any more. Metrics are from `metrics_port` on."""
    async with AsyncExitStack() as stack:
        tell("local Twilio")
        simulator_url = await stack.enter_async_context(running())
        phone = await stack.enter_async_context(SimulatorClient(simulator_url))
        tell("PostgreSQL and schema")
        # Variables that nobody sets, and no .env: none of the caller's settings, right or wrong, may matter here.
        settings = load(_env_file=None, _env_prefix=f"{PREFIX}OF_THE_DEMO_", home=home)
        wiring = await _whole(stack.enter_async_context(wire(settings, connections=4)))
        tell("Whisper")
        model = await asyncio.to_thread(_whisper, home / "models")
        tell("API and two workers")
        api_url = f"http://127.0.0.1:{_free_port()}"
        environment = _environment(home, api_url, simulator_url, model)
        processes = Processes(folder=home, environment=environment, metrics_port=metrics_port)
        stack.push_async_callback(processes.stop)
        await processes.start("api", "api", "--port", api_url.rpartition(":")[2])
        for name in WORKERS:
            await processes.start(name, "worker")
        account_sid, auth_token = "AC" + secrets.token_hex(16), secrets.token_hex(16)
        await phone.add_account(account_sid, auth_token)
        await phone.add_number(account_sid, NUMBER, api_url + WEBHOOK)
        await phone.pace(sent_ms=150, delivered_ms=350, read_ms=500, auto_read=True)
        entries = knowledge.read(KNOWLEDGE, (files(__package__) / KNOWLEDGE).read_bytes())
        owner_id = await _set_up_owner(wiring, account_sid, auth_token, entries)
        await _until_ready(api_url, wiring, processes)
        yield Stage(
            home=home,
            api_url=api_url,
            phone=phone,
            wiring=wiring,
            processes=processes,
            owner_id=owner_id,
            account_sid=account_sid,
            entries={entry.title: entry.content for entry in entries},
            hears=model is not None,
        )


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; a cancellation waits for its end, as what is half started could not be stopped."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _set_up_owner(wiring: Wiring, account_sid: str, auth_token: str, entries: list[Entry]) -> UUID:
    """What `recado owners|accounts|numbers|knowledge add` and `recado assistants set` do."""
    async with await wiring.connect("recado_platform") as platform:
        owner = await owners.add(platform, OWNER)
    async with scoped(wiring.pool, owner.id) as scope:
        await accounts.add_account(scope, wiring.keyring, account_sid=account_sid, auth_token=auth_token)
        assistant = await assistants.ensure_default(scope)
        await accounts.add_number(scope, account_sid=account_sid, address=NUMBER, assistant_id=assistant.id)
        await assistants.set(scope, None, instructions="Responda com simpatia, em poucas palavras.", language="pt")
        await knowledge.replace(scope, source=KNOWLEDGE, entries=entries, language="pt")
    return owner.id


async def _until_ready(api_url: str, wiring: Wiring, processes: Processes) -> None:
    """Return when `/readyz` says so and both workers are registered."""
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
        while True:
            processes.check()
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{api_url}/readyz") as response:
                    if response.status == 200 and await _workers(wiring) == len(WORKERS):
                        return
            await asyncio.sleep(0.05)


async def _workers(wiring: Wiring) -> int:
    async with await wiring.connect("recado_platform") as platform:
        row = await (await platform.execute("SELECT count(*) AS n FROM executors")).fetchone()
    return row["n"] if row else 0


def _whisper(folder: Path) -> Path | None:
    """The folder of a model that understands voice notes; None where the packages with its weights are missing."""
    try:
        return base_model_folder(folder)
    except WeightsMissing:
        return None


def _environment(home: Path, api_url: str, simulator_url: str, model: Path | None) -> dict[str, str]:
    """The caller's environment without its settings and providers' keys, and the demo's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and not name.endswith(("_API_KEY", "_BASE_URL"))
    }
    return kept | {
        "PYTHONUNBUFFERED": "1",
        f"{PREFIX}HOME": str(home),
        f"{PREFIX}PUBLIC_URL": api_url,
        f"{PREFIX}TWILIO_API_URL": simulator_url,
        f"{PREFIX}SPLIT_CHARS": str(SPLIT_CHARS),
        f"{PREFIX}TRANSCRIBER": "none" if model is None else f"faster-whisper:{model}",
        f"{PREFIX}LOG_FORMAT": "json",
        f"{PREFIX}LOG_LEVEL": "INFO",
    }


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
