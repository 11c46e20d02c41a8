"""Connections: whoever does not get on with theirs costs little, and closes the door for nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import psutil
import psycopg
import pytest

from bench import hostile
from recado import connections
from recado.app import bind, server
from recado.db.embedded import Lease
from tests.channels.examples import inbound
from tests.journey.front import PUBLIC_URL, TOKEN, Front, message_sid, open_front, signature_of
from tests.postgres import create_database, drop_database
from tests.product import INBOUND


@pytest.fixture(scope="module")
def url(cluster: Lease, template: str) -> Iterator[str]:
    made = create_database(cluster, template)
    yield made
    drop_database(cluster, made)


@pytest.fixture
async def front(url: str, tmp_path: Path) -> AsyncIterator[Front]:
    empty(url)
    async with open_front(url, tmp_path, limits="ip=3/hour") as opened:
        yield opened


def empty(url: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute("TRUNCATE recado.owners, dbos.workflow_status CASCADE")


@contextlib.asynccontextmanager
async def serving(front: Front) -> AsyncIterator[int]:
    """The application on a real socket; answers its port. Its lifespan is the front's already."""
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        running = server(front.app, "127.0.0.1", port)
        running.config.lifespan = "off"
        task = asyncio.create_task(running.serve(sockets=[sock]))
        while not running.started:
            await asyncio.sleep(0.01)
        yield port
        running.should_exit = True
        await task


def signed() -> bytes:
    """An authentic message as it stands on the wire."""
    fields = inbound("text", MessageSid=message_sid())
    body = urlencode(fields).encode()
    signature = signature_of(PUBLIC_URL + INBOUND, TOKEN, fields)
    return (
        f"POST {INBOUND} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"X-Twilio-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def exchange(port: int, *chunks: bytes, timeout_s: float = 5.0) -> bytes:
    """All that comes back until the server closes, or the head and body of one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionError):
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        async with asyncio.timeout(timeout_s):
            while b"\r\n\r\n" not in answer:
                got = await reader.read(65536)
                if not got:
                    break
                answer += got
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


SLOW: dict[str, Callable[[], bytes]] = {
    "a connection that asks nothing": lambda: b"",
    "half a request line": lambda: b"POST /channels",
    "headers without an end": lambda: f"POST {INBOUND} HTTP/1.1\r\nHost: x\r\nX-A: b\r\n".encode(),
    "a body that does not come": lambda: (
        f"POST {INBOUND} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        "Content-Length: 100\r\n\r\nBody="
    ).encode(),
    "blank lines": lambda: b"\r\n\r\n",
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_request_that_does_not_arrive_in_time_is_dropped(
    front: Front, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ARRIVAL_S", 0.4)
    async with serving(front) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(SLOW[name]())
        began = time.monotonic()
        answer = await asyncio.wait_for(reader.read(), 8)
        assert time.monotonic() - began > 0.3
        assert answer[:12] in (b"", b"HTTP/1.1 408")
        writer.close()
        assert b" 200 " in await exchange(port, signed())


async def test_dripping_bytes_buys_no_time(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ARRIVAL_S", 0.5)
    async with serving(front) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            writer.write(f"POST {INBOUND} HTTP/1.1\r\nHost: x\r\n".encode())
            while not reader.at_eof() and time.monotonic() - began < 15:
                writer.write(b"X-A: b\r\n")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await reader.read(100)
        assert time.monotonic() - began < 10
        writer.close()


async def test_a_second_request_on_a_kept_connection_has_the_same_time(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ARRIVAL_S", 0.4)
    async with serving(front) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(signed())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.8)
        writer.write(signed())  # idle between requests it may be for longer
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"POST /")
        with contextlib.suppress(asyncio.IncompleteReadError):
            assert b" 408 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.close()


async def test_blank_lines_after_a_finished_request_buy_no_time(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ARRIVAL_S", 0.4)
    async with serving(front) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(signed())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and time.monotonic() - began < 15:
                writer.write(b"\r\n")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await reader.read(1000)
        took = time.monotonic() - began
        writer.close()
    assert took < 10


async def test_200_slow_connections_hold_up_no_good_request(front: Front) -> None:
    async with serving(front) as port:
        slow = []
        for number in range(200):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(list(SLOW.values())[number % 4]())
            slow.append(sock)
        began = time.monotonic()
        for _ in range(10):
            assert b" 200 " in await exchange(port, signed())
        assert time.monotonic() - began < 6
        for sock in slow:
            sock.close()


async def test_when_connections_run_out_the_longest_idle_makes_room(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CROWDED", 20)
    async with serving(front) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        assert b" 200 " in await exchange(port, signed())
        assert await asyncio.wait_for(idle[0][0].read(), 5) == b""
        newest = idle[-1]
        newest[1].write(signed())
        assert b" 200 " in await newest[0].readuntil(b"\r\n\r\n")
        for _, writer in idle:
            writer.close()


def test_an_idle_connection_is_kept_for_longer_than_proxies_keep_theirs(front: Front) -> None:
    assert server(front.app, "127.0.0.1", 0).config.timeout_keep_alive > 60


async def test_a_head_that_is_too_large_is_431(front: Front) -> None:
    start = f"POST {INBOUND} HTTP/1.1\r\nHost: x\r\n".encode()
    async with serving(front) as port:
        many = start + b"".join(b"X-%d: y\r\n" % number for number in range(connections.HEADERS + 1)) + b"\r\n"
        assert (await exchange(port, many)).startswith(b"HTTP/1.1 431")
        large = start + b"X-A: " + b"y" * connections.HEAD_BYTES + b"\r\n"
        assert (await exchange(port, large, b"\r\n")).startswith(b"HTTP/1.1 431")
        assert (await exchange(port, large + b"\r\n")).startswith(b"HTTP/1.1 431")
        endless = [start, *[b"X-A: " + b"y" * 4000 + b"\r\n"] * 40]
        assert (await exchange(port, *endless))[:12] in (b"HTTP/1.1 431", b"")
        url = b"GET /" + b"a" * connections.HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await exchange(port, url)).startswith(b"HTTP/1.1 431")
        assert b" 200 " in await exchange(port, signed())
    assert len(front.stored()) == 1


@pytest.mark.timeout(90)
async def test_hostile_requests_get_no_5xx_store_nothing_and_leave_nothing_behind(url: str, tmp_path: Path) -> None:
    empty(url)
    async with open_front(url, tmp_path, limits="ip=600/minute") as front, serving(front) as port:
        base = f"http://127.0.0.1:{port}"
        answers = await hostile.attack(base, count=600, seed=1)
        process = psutil.Process()
        before = process.memory_info().rss
        for name, found in (await hostile.attack(base, count=1400, seed=2)).items():
            answers[name] += found
        grown_mb = (process.memory_info().rss - before) / 1e6
        assert front.stored() == []
        assert b" 200 " in await exchange(port, signed()), "and the door is open"
    assert len(answers) >= 50
    wrong = {name: found for name, found in answers.items() if any(status[:1] in ("2", "5") for status in found)}
    assert wrong == {}
    assert {name for name, found in answers.items() if "" in found} <= hostile.QUIET
    assert grown_mb < 15
