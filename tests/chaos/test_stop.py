"""SIGTERM finishes what runs or hands it back, and another worker goes on: nothing lost, nothing twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.test_chaos import home as home
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, Fleet
from tests.model_server import ModelServer, Reply

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
