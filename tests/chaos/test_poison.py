"""A turn or a delivery that ends its worker, by death or by a hang, is not given again for ever; others are served."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from recado.assistants.keyless import PERSON
from tests.chaos.test_chaos import home as home
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, Fleet
from tests.model_server import ModelServer, Reply, Request

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
#: In every process of the fleet: an answer with this word holds the event loop for ever, and a hang is seen soon.
HANGS = """
import sys
if "worker" in sys.argv:
    from recado.assistants import run
    from recado.ops import hang
    hang.HANG_S = 5.0
    said = run._said
    async def hangs(answer):
        while "HANG" in answer:
            pass
        return await said(answer)
    run._said = hangs
"""
#: In every process of the fleet: an answer with this word ends the process that would split it for sending.
DIES = """
import os, signal, sys
if "worker" in sys.argv:
    from recado.journey.deliver import dispatch
    split = dispatch.split
    def dies(body, chars):
        if "MORRE" in body:
            os.kill(os.getpid(), signal.SIGKILL)
        return split(body, chars)
    dispatch.split = dies
"""


def test_a_delivery_that_ends_its_worker_twice_is_held_and_the_others_are_sent(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(DIES)

    def write(words: str, contact: int) -> list[str]:
        address = f"whatsapp:+551190000000{contact}"
        fleet.call(lambda client: client.send(words, account_sid=ACCOUNT_SID, from_=address, to=NUMBER), timeout_s=120)
        return [one.body for one in fleet.call(lambda client: client.wait_for_replies(address, 1, 90), timeout_s=120)]

    def script(request: Request) -> Reply:
        return Reply(text="MORRE" if "veneno" in request.last_user_text else "Pronto.")

    with ModelServer(script) as model:
        settings = {
            "RECADO_MODEL": "openai-chat:scripted",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "test",
            "PYTHONPATH": str(tmp_path),
        }
        fleet = Fleet(home, apis=1, workers=1, settings=settings)
        with fleet:
            fleet.call(lambda client: client.add_number(ACCOUNT_SID, NUMBER, fleet.api_urls[0] + INBOUND))
            assert write("veneno", 1) == [PERSON["pt"]], fleet.logs()
            assert write("Oi", 2) == ["Pronto."]
            assert fleet.members["worker0"].deaths == 2


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_a_turn_that_ends_its_worker_twice_is_held_and_the_others_are_answered(
    home: Path, tmp_path: Path, how: str
) -> None:
    asked: list[str] = []
    (tmp_path / "sitecustomize.py").write_text(HANGS)

    def script(request: Request) -> Reply:
        asked.append(request.last_user_text)
        if "veneno" not in request.last_user_text:
            return Reply(text="Pronto.", delay_s=0.05)
        if how == "kill":
            worker = fleet.members["worker0"].process
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
        return Reply(text="HANG")

    def write(words: str, contact: int) -> None:
        address = f"whatsapp:+551190000000{contact}"
        sent = fleet.call(
            lambda client: client.send(words, account_sid=ACCOUNT_SID, from_=address, to=NUMBER), timeout_s=120
        )
        assert sent.statuses == [200]

    def replies(contact: int, count: int) -> list[str]:
        address = f"whatsapp:+551190000000{contact}"
        return [
            one.body for one in fleet.call(lambda client: client.wait_for_replies(address, count, 90), timeout_s=120)
        ]

    with ModelServer(script) as model:
        settings = {
            "RECADO_MODEL": "openai-chat:scripted",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "test",
            "PYTHONPATH": str(tmp_path),
        }
        fleet = Fleet(home, apis=1, workers=1, settings=settings)
        with fleet:
            fleet.call(lambda client: client.add_number(ACCOUNT_SID, NUMBER, fleet.api_urls[0] + INBOUND))
            write("veneno", 1)
            deadline = time.monotonic() + 60
            while not asked:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            write("Oi", 2)
            assert replies(2, 1) == ["Pronto."]
            assert replies(1, 1) == [PERSON["pt"]], fleet.logs()
            write("E agora?", 1)
            assert replies(1, 2) == [PERSON["pt"], "Pronto."]
            assert fleet.members["worker0"].deaths == 2
            assert sum("veneno" in words for words in asked) == 2
            assert "veneno" not in "".join(str(words) for words in asked[-1:])
