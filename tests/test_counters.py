"""Counters: exact together, and never a reason to wait or to fail when Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recado import counters as counting
from recado import telemetry
from recado.counters import Count, Counted, Counters, Window, open_counters
from recado.errors import SettingsError
from recado.settings import Rate, limits_of

RATE = Rate(amount=3, window_s=3600)
#: Kinds with amounts, in the order in which a message counts.
LIMITS = (("contact", 2), ("account", 5))
SERVER = shutil.which("redis-server")
needs_redis = [
    pytest.mark.redis,
    pytest.mark.skipif(SERVER is None and not os.environ.get("CI"), reason="redis-server is not installed"),
]


@dataclass(slots=True)
class Redis:
    """A Redis server that the test stops and starts as it likes."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [SERVER or "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen([*command, "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 40
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                sock.sendall(b"PING\r\n")
                if sock.recv(16) == b"+PONG\r\n":
                    return
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(10)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = Redis(tmp_path, sock.getsockname()[1])
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> None:
    telemetry.configure(format="json", level="DEBUG")


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Counters]:
    counters = open_counters(url)
    try:
        yield counters
    finally:
        await counters.aclose()


async def one(counters: Counters, key: str, rate: Rate = RATE, kind: str = "contact") -> Count:
    [count] = await counters.add(Counted(kind=kind, key=key, rate=rate))
    return count


async def until(true: Callable[[], bool], timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_each_key_and_each_length_of_window_is_counted_by_itself() -> None:
    async with opened("memory://") as counters:
        assert [(await one(counters, "a")).number for _ in range(3)] == [1, 2, 3]
        assert (await one(counters, "b")).number == 1
        assert (await one(counters, "a", Rate(amount=3, window_s=86_400))).number == 1


async def test_a_new_window_begins_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(60)
    monkeypatch.setattr("time.time", lambda: 6000.0)
    assert [window.add("a").number for _ in range(2)] == [1, 2]
    monkeypatch.setattr("time.time", lambda: 6059.0)
    assert window.add("a") == counting.Count(number=3, ends_in_s=1.0)
    monkeypatch.setattr("time.time", lambda: 6060.0)
    assert window.add("a") == counting.Count(number=1, ends_in_s=60.0)


def test_strangers_can_not_fill_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "KEYS", 100)
    window = Window(3600)
    for number in range(1000):
        window.add(str(number))
        assert len(window._counts) <= 100


async def test_strangers_can_not_make_another_limit_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "KEYS", 100)
    async with opened("memory://") as counters:
        for _ in range(3):
            await one(counters, "a contact")
        for number in range(150):
            await one(counters, f"192.0.2.{number}", kind="ip")
        assert (await one(counters, "a contact")).number == 4


@pytest.mark.parametrize("storage", ["memory", pytest.param("redis", marks=needs_redis)])
async def test_what_belongs_together_is_counted_up_to_the_first_that_is_over_and_can_be_taken_back(
    storage: str, request: pytest.FixtureRequest
) -> None:
    url = "memory://" if storage == "memory" else request.getfixturevalue("redis").url
    small, large = (Counted(kind=kind, key="a", rate=Rate(amount=amount, window_s=3600)) for kind, amount in LIMITS)
    async with opened(url) as counters:
        for number in (1, 2):
            assert [count.number for count in await counters.add(small, large)] == [number, number]
        assert [count.number for count in await counters.add(small, large)] == [3]
        await counters.take_back(small)
        await counters.take_back(small, large)
        assert [count.number for count in await counters.add(small, large)] == [2, 2]
        never = Counted(kind="contact", key="never", rate=RATE)
        await counters.take_back(never)
        assert [count.number for count in await counters.add(never)] == [1], "it is not below nothing"
        assert counters.local is (storage == "memory")


def test_limits_are_read_as_they_are_written() -> None:
    assert limits_of("ip=600/minute; contact=5/2 hours") == {
        "ip": Rate(amount=600, window_s=60),
        "contact": Rate(amount=5, window_s=7200),
    }
    assert limits_of("off") == {}


@pytest.mark.parametrize("text", ["", "ip", "ip=", "ip=0/minute", "ip=1/fortnight", "sender=1/minute", "off;ip=1/day"])
def test_limits_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be off, or limits as in"):
        limits_of(text)


@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_redis)])
async def test_two_processes_count_together_in_redis_and_lose_no_count(
    redis: Redis, mark: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "REDIS_S", 30.0)  # a busy machine is no Redis that is away
    async with opened(redis.url) as first, opened(redis.url) as other:
        counts = await asyncio.gather(*(one(each, "a") for _ in range(50) for each in (first, other)))
        assert sorted(count.number for count in counts) == list(range(1, 101))
        assert all(3590 < count.ends_in_s <= 3600 for count in counts)
        assert not first.local


@pytest.mark.parametrize("how", [pytest.param(how, marks=needs_redis) for how in ("killed", "hanging", "never there")])
async def test_while_redis_is_away_each_process_counts_by_itself_and_nobody_waits(
    redis: Redis, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "never there":
        redis.kill()
    async with opened(redis.url) as counters:
        if how != "never there":
            await one(counters, "a")
            redis.kill(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        began = time.monotonic()
        counts = await asyncio.gather(*(one(counters, "a") for _ in range(20)))
        assert time.monotonic() - began < 3 * counting.REDIS_S
        assert sorted(count.number for count in counts) == list(range(1, 21)), "it still limits"
        began = time.monotonic()
        for _ in range(1000):
            await one(counters, "b")
        assert time.monotonic() - began < counting.REDIS_S, "no call waits for Redis any more"
        await asyncio.sleep(2.2 * counting.PROBE_S)
        lines = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
        assert lines == ["limits_counted_locally"], "once a minute, not once a call"
        if how == "hanging":
            redis.kill(signal.SIGCONT)
        else:
            redis.start()
        await until(lambda: not counters.local)
        number = (await one(counters, "a")).number
        # What was written to a hanging server counts when it goes on.
        assert number == 1 if how != "hanging" else 2 <= number <= 22


@contextlib.asynccontextmanager
async def delayed(port: int, delay_s: float) -> AsyncIterator[int]:
    """The port of a way to that server on which every answer takes longer."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait_s: float) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                await asyncio.sleep(wait_s)
                writer.write(piece)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, back, 0), pump(there, writer, delay_s))
        finally:
            back.close()

    calls: set[asyncio.Task[None]] = set()

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    proxy = await asyncio.start_server(called, "127.0.0.1", 0)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("delay_s", [pytest.param(delay_s, marks=needs_redis) for delay_s in (0.05, 0.2)])
async def test_a_slow_redis_makes_nobody_wait_for_their_turn(
    redis: Redis, delay_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    async with delayed(redis.port, delay_s) as port, opened(f"redis://127.0.0.1:{port}/0") as counters:
        waits = []

        async def message(number: int) -> None:
            began = time.monotonic()
            await counters.add(
                *(Counted(kind=kind, key=str(number), rate=Rate(amount=9, window_s=60)) for kind, _ in LIMITS)
            )
            waits.append(time.monotonic() - began)

        for _ in range(3):
            await asyncio.gather(*(message(number) for number in range(1200)))
            await asyncio.sleep(1.5 * counting.PROBE_S)  # Redis is tried again
        assert max(waits) < 4, "in turn the last would wait for over seven seconds; this allows for a busy machine"
        lines = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
        assert lines.count("limits_counted_locally") == 1


def test_redis_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "limits.aio.storage", None)
    with pytest.raises(SettingsError, match=r"RECADO_RATE_LIMIT_STORAGE.*recado\[redis\]"):
        open_counters("redis://127.0.0.1:1/0")
