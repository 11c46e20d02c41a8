"""`recado serve`: webhooks are answered whatever the worker does, and the two processes end together."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from recado.settings import Settings
from recado.wiring import wire
from tests.channels.examples import inbound
from tests.chaos.serving import serving, until
from tests.chaos.test_chaos import home as home
from tests.journey.front import ACCOUNT_SID, NUMBER, TOKEN, message_sid
from tests.product import establish

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


async def _establish(home: Path) -> None:
    async with wire(Settings(home=home, database_url=None, secret_keys=None, _env_file=None)) as wiring:
        await establish(wiring, ACCOUNT_SID, TOKEN, NUMBER)


def test_webhooks_and_health_are_answered_while_the_worker_is_stuck_and_both_end_in_time(home: Path) -> None:
    asyncio.run(_establish(home))
    with serving(home) as served:
        served.until_ready()
        [worker] = served.workers()
        worker.suspend()  # as a computation does that keeps the interpreter, and for longer
        for _ in range(20):
            assert served.get("/healthz") == 200
            assert served.post(inbound("text", MessageSid=message_sid()), TOKEN) == 200, served.told()
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 1, "the worker had to be killed"
        assert time.monotonic() - began < 40
        assert not worker.is_running()
        assert "worker_process_killed" in served.told()


def test_a_worker_that_dies_is_started_again_and_sigterm_ends_both(home: Path) -> None:
    with serving(home) as served:
        served.until_ready()
        [first] = served.workers()
        first.kill()
        until(lambda: [one.pid for one in served.workers()] not in ([], [first.pid]), served.told)
        served.until_ready()
        [second] = served.workers()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.told()
        assert not second.is_running()
        told = served.told()
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
        assert "RECADO_MODEL" in served.told()
