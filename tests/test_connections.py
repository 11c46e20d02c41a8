"""Connections: whoever does not get on with theirs costs little, and closes the door for nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

from bench import hostile
from recado import connections, edge
from recado.app import Server, bind, server
from recado.settings import Network
from tests.api.programs import JPEG, furnish
from tests.channels.examples import inbound
from tests.journey.front import PUBLIC_URL, TOKEN, Front, message_sid, open_front, signature_of
from tests.product import INBOUND

DESCRIPTION = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def front(database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(database_url, tmp_path, limits="ip=3/day") as opened:
        yield opened


@contextlib.asynccontextmanager
async def serving(front: Front) -> AsyncIterator[int]:
    """The application on a real socket; answers its port."""
    async with running(front) as (port, _):
        yield port


@contextlib.asynccontextmanager
async def running(front: Front) -> AsyncIterator[tuple[int, Server]]:
    """The application's port and server. Its lifespan is the front's already."""
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        made = server(front.app, "127.0.0.1", port, trusted_proxies=front.wiring.settings.trusted_proxies)
        made.config.lifespan = "off"
        task = asyncio.create_task(made.serve(sockets=[sock]))
        while not made.started:
            await asyncio.sleep(0.01)
        yield port, made
        made.should_exit = True
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


async def until(true: Callable[[], bool], timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


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


async def send_file(port: int, key: str, *, bytes_s: int, size: int = 40_000, path: str = "/v1/media") -> bytes:
    """What is answered to a file that comes at that rate; sending ends with the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: image/jpeg\r\n"
        f"Connection: close\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    answer, file = asyncio.create_task(reader.read()), JPEG.ljust(size, b"\0")
    with contextlib.suppress(ConnectionError):
        for start in range(0, size, bytes_s // 20):
            writer.write(file[start : start + bytes_s // 20])
            await writer.drain()
            await asyncio.sleep(0.05)
            if answer.done():
                break
    found = b""
    with contextlib.suppress(ConnectionError):
        found = await asyncio.wait_for(answer, 60)
    writer.close()
    return found


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has a second and a half to come, or 1 kB a second, which comes on a busy machine too."""
    monkeypatch.setattr(connections, "ARRIVAL_S", 1.5)
    monkeypatch.setattr(connections, "UPLOAD_BYTES_S", 1000)


async def test_a_file_may_take_its_time_as_long_as_it_gets_on(front: Front, hurried: None) -> None:
    office = await furnish(front)
    async with serving(front) as port:
        began = time.monotonic()
        assert b" 201 " in await send_file(port, office.admin.key or "", bytes_s=20_000, size=100_000)
        assert time.monotonic() - began > 3 * connections.ARRIVAL_S


@pytest.mark.parametrize(
    ("bytes_s", "key", "path"),
    [
        pytest.param(200, None, "/v1/media", id="a file that drips"),
        pytest.param(20_000, "rk_none", "/v1/media", id="a stranger's file"),
        pytest.param(20_000, None, INBOUND, id="a webhook"),
        pytest.param(20_000, None, "/v1/keys", id="any other request"),
    ],
)
async def test_nothing_else_may(front: Front, hurried: None, bytes_s: int, key: str | None, path: str) -> None:
    office = await furnish(front)
    async with serving(front) as port:
        began = time.monotonic()
        answer = await send_file(port, key or office.admin.key or "", bytes_s=bytes_s, size=1_200_000, path=path)
        assert b" 201 " not in answer
        assert time.monotonic() - began < 50, "it was not let finish"


def who_never_reads(port: int, asked: bytes) -> socket.socket:
    """A connection that asks, and takes nothing of the answers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", port))
    sock.sendall(asked)
    sock.setblocking(False)
    return sock


def was_reset(sock: socket.socket) -> bool:
    """Whether the server has ended the connection there and then, whatever it had sent before."""
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


@pytest.mark.timeout(90)
async def test_a_thousand_who_never_read_hold_up_no_webhook_and_cost_little(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(front) as (port, made):
        answer = await exchange(port, DESCRIPTION)
        assert b" 200 " in answer
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        process = psutil.Process()
        before = process.memory_info().rss
        with contextlib.ExitStack() as unread:
            for number in range(1, 23):
                fifty = [unread.enter_context(who_never_reads(port, DESCRIPTION)) for _ in range(50)]
                for _ in range(3):
                    assert b" 200 " in await exchange(port, signed()), number
                    for sock in fifty:
                        sock.send(DESCRIPTION)
            # One answer each; uvloop holds the same bytes for all, asyncio's own loop copies what it could not send.
            assert (process.memory_info().rss - before) / connections.CROWDED < length
            assert len(made.server_state.connections) <= connections.CROWDED
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("asked", "then"),
    [
        pytest.param(DESCRIPTION, b"", id="one answer"),
        pytest.param(DESCRIPTION * 8, b"", id="many"),
        pytest.param(DESCRIPTION[:-2] + b"Connection: close\r\n\r\n", b"", id="the last"),
        pytest.param(DESCRIPTION, b"nonsense\r\n\r\n", id="and sends nonsense"),
    ],
)
async def test_who_takes_nothing_of_an_answer_is_dropped(
    front: Front, asked: bytes, then: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "TAKING_S", 0.5)
    async with running(front) as (port, made):
        with who_never_reads(port, asked) as sock:
            await until(lambda: any(one.flow.write_paused for one in made.server_state.connections))
            sock.sendall(then)
            await until(lambda: not made.server_state.connections)
            assert was_reset(sock)
    assert [line for line in caplog.records if line.levelno >= logging.ERROR] == []


async def test_who_reads_slowly_but_steadily_gets_the_whole_answer(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TAKING_S", 2.0)
    async with serving(front) as port:
        with who_never_reads(port, DESCRIPTION[:-2] + b"Connection: close\r\n\r\n") as sock:
            began, answer = time.monotonic(), b""
            while piece := await asyncio.get_running_loop().sock_recv(sock, 2000):
                answer += piece
                await asyncio.sleep(0.03)
            assert time.monotonic() - began > 2 * connections.TAKING_S
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head


async def test_what_an_idle_connection_has_not_taken_ends_with_it(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of an answer that is too small to be waited for."""
    monkeypatch.setattr(connections, "TAKING_S", 0.3)
    monkeypatch.setattr("recado.app.KEEP_ALIVE_S", 1)
    async with running(front) as (port, made):
        with who_never_reads(port, b""):
            await until(lambda: len(made.server_state.connections) == 1)
            [one] = made.server_state.connections
            one.transport.write(b"x" * 400_000)
            await until(lambda: not made.server_state.connections)


async def test_nobody_sends_many_requests_ahead_of_their_answers(front: Front) -> None:
    async with serving(front) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert answer.count(b"HTTP/1.1 ") <= connections.AHEAD + 2
        assert b" 200 " in await exchange(port, signed())


@pytest.mark.parametrize(("inside", "kept"), [((), 20), (edge._INSIDE, 40)], ids=["a stranger", "maybe a proxy"])
async def test_one_address_does_not_take_all_connections_and_a_proxy_may(
    front: Front, inside: tuple[Network, ...], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "_INSIDE", inside)
    monkeypatch.setattr(connections, "OF_ADDRESS", 20)
    async with running(front) as (port, made):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        opened[-1][1].write(signed())
        assert b" 200 " in await opened[-1][0].readuntil(b"\r\n\r\n")
        assert len(made.server_state.connections) == kept
        for _, writer in opened:
            writer.close()


async def test_the_description_is_rendered_once(front: Front) -> None:
    first, second = [await front.post(path="/openapi.json", method="GET") for _ in range(2)]
    assert first.json() == front.app.openapi()
    front.app.openapi = None  # type: ignore[assignment,method-assign] # it is not asked again
    assert second.content == first.content == (await front.post(path="/openapi.json", method="GET")).content


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


async def test_what_is_no_http_gets_a_problem_document(front: Front) -> None:
    async with serving(front) as port:
        for words in ("NONSENSE /v1/contacts HTTP/1.1", "GET /v1/contacts HTTP/1.1\r\nContent-Type: a\x7fb", "\0"):
            head, _, body = (await exchange(port, f"{words}\r\nHost: x\r\n\r\n".encode())).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 "), words
            assert b"content-type: application/problem+json" in head
            assert json.loads(body) == {"type": "about:blank", "title": "Bad request", "status": 400}


@pytest.mark.timeout(90)
async def test_hostile_requests_get_no_5xx_store_nothing_and_leave_nothing_behind(
    database_url: str, tmp_path: Path
) -> None:
    async with open_front(database_url, tmp_path, limits="ip=600/minute") as front, serving(front) as port:
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
