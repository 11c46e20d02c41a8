"""A worker that is killed with a voice note in work: the note is answered once, and nothing of it is left behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recado.simulator.handset import Phone
from tests.chaos.test_chaos import home as home
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, Fleet
from tests.media.voice import NOTES
from tests.model_server import ModelServer, Reply

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
CONTACT = "whatsapp:+5511900000077"
NOTE = NOTES[0]


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer(lambda _: Reply(text="Custa oito reais.")) as server:
        server.spoken = {NOTE.path.read_bytes(): NOTE.text}
        yield server


def temporary(home: Path) -> list[Path]:
    return [path for path in (home / "scratch").rglob("*") if path.is_file() and path.suffix not in (".lock", ".new")]


def test_a_worker_killed_with_a_note_in_work_leaves_no_file_and_the_note_is_answered_once(
    home: Path, model: ModelServer
) -> None:
    settings = {
        "RECADO_MODEL": "openai:scripted",
        "RECADO_TRANSCRIBER": "openai:whisper-1",
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "test",
    }
    model.listening_s = 60.0
    with Fleet(home, apis=1, workers=1, settings=settings) as fleet:
        fleet.call(lambda client: client.add_number(ACCOUNT_SID, NUMBER, fleet.api_urls[0] + INBOUND))
        fleet.call(
            lambda client: Phone(client=client, account_sid=ACCOUNT_SID, number=NUMBER, address=CONTACT).voice(
                NOTE.path
            )
        )
        deadline = time.monotonic() + 30
        while not model.notes:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (left,) = temporary(home)
        model.listening_s = 0.0
        fleet.members["worker0"].kill(signal.SIGKILL)
        replies = fleet.call(lambda client: client.wait_for_replies(CONTACT, 1, 60))
        assert [reply.body for reply in replies] == ["Custa oito reais."], fleet.logs()
        assert fleet.members["worker0"].deaths == 1
        assert not left.exists()
        assert temporary(home) == []
        assert model.notes == 2
        time.sleep(1)
        assert len(fleet.call(lambda client: client.replies(CONTACT))) == 1
