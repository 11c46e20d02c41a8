"""SIGTERM finishes what runs or hands it back, and another worker goes on: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recado.settings import Settings
from recado.wiring import wire
from tests.channels.examples import inbound
from tests.chaos.serving import Serving, serving, until
from tests.chaos.test_chaos import home as home
from tests.conftest import SECRET_KEYS
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, Fleet
from tests.journey.front import ACCOUNT_SID as SID
from tests.journey.front import NUMBER as OWN
from tests.journey.front import TOKEN as AUTH
from tests.journey.front import message_sid
from tests.model_server import ModelServer, Reply
from tests.product import establish
from tests.silence import forwarding

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
CONTACT = "whatsapp:+5511900000001"


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer(lambda _: Reply(text="Pronto.", delay_s=0.0)) as server:
        yield server


def fleet_with(home: Path, model: ModelServer, *, workers: int) -> Fleet:
    settings = {"RECADO_MODEL": "openai:scripted", "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "test"}
    return Fleet(home, apis=1, workers=workers, settings=settings)


def introduce(fleet: Fleet) -> None:
    fleet.call(lambda client: client.add_number(ACCOUNT_SID, NUMBER, fleet.api_urls[0] + INBOUND))


def write(fleet: Fleet, words: str) -> None:
    sent = fleet.call(lambda client: client.send(words, account_sid=ACCOUNT_SID, from_=CONTACT, to=NUMBER))
    assert sent.statuses == [200]


def wait_until_asked(model: ModelServer, times: int = 1) -> None:
    deadline = time.monotonic() + 40
    while len(model.requests) < times:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_turn_that_ends_soon_is_finished_before_the_worker_stops(home: Path, model: ModelServer) -> None:
    model.script = lambda _: Reply(text="Pronto.", delay_s=3.0)
    with fleet_with(home, model, workers=1) as fleet:
        introduce(fleet)
        write(fleet, "Oi")
        wait_until_asked(model)
        worker = fleet.members["worker0"]
        began = time.monotonic()
        fleet.retire("worker0")
        assert worker.process is not None
        assert worker.process.wait(25) == 0, fleet.logs()
        assert 1 < time.monotonic() - began < 20
        fleet.members["worker0"].start()
        replies = fleet.call(lambda client: client.wait_for_replies(CONTACT, 1, 30))
        assert [reply.body for reply in replies] == ["Pronto."]
        assert len(model.requests) == 1, "the finished answer was thrown away"


def test_a_turn_that_takes_too_long_is_handed_to_another_worker(home: Path, model: ModelServer) -> None:
    delays = [45.0, 0.1]
    model.script = lambda _: Reply(text="Pronto.", delay_s=delays.pop(0) if delays else 0.1)
    with fleet_with(home, model, workers=1) as fleet:
        introduce(fleet)
        write(fleet, "Oi")
        wait_until_asked(model)
        worker = fleet.members["worker0"]
        began = time.monotonic()
        fleet.retire("worker0")
        assert worker.process is not None
        assert worker.process.wait(25) == 0, fleet.logs()
        assert time.monotonic() - began < 20
        fleet.members["worker0"].start()
        replies = fleet.call(lambda client: client.wait_for_replies(CONTACT, 1, 40))
        time.sleep(2)
        assert [reply.body for reply in replies] == ["Pronto."]


def test_a_killed_workers_turn_is_taken_over_by_the_other_within_seconds(home: Path, model: ModelServer) -> None:
    model.script = lambda _: Reply(text="Pronto.", delay_s=1.5)
    with fleet_with(home, model, workers=2) as fleet:
        introduce(fleet)
        write(fleet, "Oi")
        wait_until_asked(model)
        for name in ("worker0", "worker1"):
            fleet.retire(name, signal.SIGSTOP)
        time.sleep(0.1)
        busy = "worker0"
        # Which of the two has the turn shows when it dies: only the other is left to finish it.
        fleet.members[busy].kill(signal.SIGKILL)
        fleet.members["worker1"].kill(signal.SIGCONT)
        replies = fleet.call(lambda client: client.wait_for_replies(CONTACT, 1, 30))
        assert [reply.body for reply in replies] == ["Pronto."]


@asynccontextmanager
async def started(
    home: Path, database_url: str, model: ModelServer, twilio: Deaf, *, through: str | None = None
) -> AsyncIterator[Serving]:
    """`recado serve` with an owner, ready; its model takes five minutes, and its Twilio never answers."""
    model.script = lambda _: Reply(text="Pronto.", delay_s=300.0)
    given: dict[str, Any] = {"home": home, "database_url": database_url, "secret_keys": SECRET_KEYS}
    async with wire(Settings(**given, _env_file=None)) as wiring:
        await establish(wiring, SID, AUTH, OWN, model="openai:scripted")
    settings = {
        "RECADO_DATABASE_URL": through or database_url,
        "RECADO_SECRET_KEYS": SECRET_KEYS,
        "RECADO_TWILIO_API_URL": twilio.url,
        "RECADO_QUIET_WINDOW_MS": "150",
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "test",
    }
    with serving(home, **settings) as served:
        await asyncio.to_thread(served.until_ready)
        yield served


async def ends_in_time(served: Serving) -> None:
    """What is promised is 20 s; a machine that is busy gets more, a product that had to be killed gets none."""
    began = time.monotonic()
    [worker] = served.workers()
    served.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(served.process.wait, 90)
    assert "stopped_by_force" not in served.told(), served.told()
    assert "worker_process_killed" not in served.told(), served.told()
    assert code == 0, served.told()
    assert "worker_stopped" in served.told()
    assert time.monotonic() - began < 40
    assert not worker.is_running()


@dataclass(slots=True)
class Deaf:
    """A server that takes connections and requests, and never answers."""

    url: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
async def twilio() -> AsyncIterator[Deaf]:
    deaf, ends = Deaf(), asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            deaf.asked.set()
        await ends.wait()
        writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    deaf.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield deaf
    ends.set()
    server.close()


async def test_a_stop_ends_in_time_whatever_it_waits_for(
    tmp_path: Path, database_url: str, model: ModelServer, twilio: Deaf
) -> None:
    """A model, a download, a client who never reads, and a lane that waits for somebody's lock, all at once."""
    async with started(tmp_path, database_url, model, twilio) as served:
        first = await asyncio.to_thread(served.post, inbound("text", MessageSid=message_sid()), AUTH)
        sid = "MM" + secrets.token_hex(16)
        media = f"{twilio.url}/2010-04-01/Accounts/{SID}/Messages/{sid}/Media/ME{'3' * 32}"
        picture = inbound("image", MessageSid=sid, MediaUrl0=media, From=CONTACT, WaId=CONTACT[-13:])
        second = await asyncio.to_thread(served.post, picture, AUTH)
        assert (first, second) == (200, 200)
        await asyncio.to_thread(wait_until_asked, model)
        await asyncio.wait_for(twilio.asked.wait(), 60)
        with socket.socket() as never_reads, psycopg.connect(database_url) as blocker, ThreadPoolExecutor() as pool:
            never_reads.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            never_reads.connect(("127.0.0.1", served.port))
            never_reads.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 6)
            assert never_reads.recv(1, socket.MSG_PEEK)
            blocker.execute("SELECT FROM recado.conversations FOR UPDATE")
            waits = pool.submit(served.post, inbound("text", MessageSid=message_sid()), AUTH)
            await asyncio.to_thread(until, lambda: waits.done() or locked(database_url), served.told)
            await ends_in_time(served)
            assert waits.result(60) in (0, 503)


def locked(database_url: str) -> bool:
    """Whether somebody waits for a lock."""
    with psycopg.connect(database_url) as conn:
        return conn.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone() is not None


@pytest.mark.parametrize("database", ["silent", "away"])
async def test_a_stop_ends_in_time_while_the_database_does_not_answer(
    tmp_path: Path, database_url: str, model: ModelServer, twilio: Deaf, database: str
) -> None:
    async with (
        forwarding(database_url) as forwarder,
        started(tmp_path, database_url, model, twilio, through=forwarder.url) as served,
    ):
        sent = await asyncio.to_thread(served.post, inbound("text", MessageSid=message_sid()), AUTH)
        assert sent == 200
        await asyncio.to_thread(wait_until_asked, model)
        if database == "silent":
            forwarder.silence()
        else:
            forwarder.cut()
        await ends_in_time(served)
