"""The drill: a set is made under load, everything is destroyed under load, and put back."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from recado.cli.commands import app
from recado.db import embedded
from recado.settings import Settings
from recado.wiring import database
from tests.chaos.test_chaos import echo
from tests.chaos.test_chaos import home as home
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, Fleet
from tests.model_server import ModelServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
CONTACTS = 8
WAIT_S = 90.0


def run(fleet: Fleet, *arguments: object) -> tuple[int, str]:
    """A command in this process, at the fleet's home: its exit code, and what it printed."""
    env = {"RECADO_HOME": str(fleet.home), "RECADO_TWILIO_API_URL": fleet.simulator_url, "RECADO_DATABASE_URL": None}
    done = CliRunner().invoke(app, [str(one) for one in arguments], env=env)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@contextmanager
def opened(home: Path) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    with (
        database(Settings(home=home, database_url=None, secret_keys=None, _env_file=None)) as there,
        psycopg.connect(
            there.admin_url, row_factory=dict_row, options="-c search_path=recado", autocommit=True
        ) as conn,
    ):
        yield lambda query, *parameters: conn.execute(query, parameters).fetchall()


def until(true: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


class Talk:
    """Contacts who each write, and write again once they were answered, until they are told to stop."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.said: dict[int, list[str]] = {contact: [] for contact in range(CONTACTS)}
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._talk, args=(contact,)) for contact in range(CONTACTS)]
        for thread in self.threads:
            thread.start()

    def _talk(self, contact: int) -> None:
        while not self.stop.is_set():
            self.say(contact)
            word = self.said[contact][-1]
            while not self.stop.is_set() and word not in self.answered(contact):
                time.sleep(0.1)

    def say(self, contact: int) -> None:
        word = f"c{contact}m{len(self.said[contact])}"
        self.said[contact].append(word)
        self.fleet.call(
            lambda client: client.send(word, account_sid=ACCOUNT_SID, from_=address(contact), to=NUMBER), timeout_s=120
        )

    def answered(self, contact: int) -> list[str]:
        """The words that this contact was answered, as often as they were."""
        replies = self.fleet.call(lambda client: client.replies(address(contact)))
        return [word for reply in replies for word in re.findall(r"c\d+m\d+", reply.body)]

    def count(self) -> int:
        return sum(len(self.answered(contact)) for contact in range(CONTACTS))

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def address(contact: int) -> str:
    return f"whatsapp:+55119000{contact:05d}"


def destroy(fleet: Fleet) -> None:
    """`kill -9` of everything in the middle of its work, and of the disk all that is not the keys."""
    for name in fleet.members:
        fleet.retire(name, signal.SIGKILL)
    fleet.kill_postgres()
    assert embedded.wait_until_stopped(fleet.home)
    shutil.rmtree(fleet.home / "postgres")
    shutil.rmtree(fleet.home / "media", ignore_errors=True)
    (fleet.home / "postgres.json").unlink()


def test_after_a_restore_everything_that_twilio_has_is_there_and_nobody_is_answered_twice(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recado.ops.backup.release.SETTLE_S", 0.0)  # the simulator takes a request at once, or never
    made = tmp_path / "set"
    with ModelServer(echo) as model:
        settings = {"RECADO_MODEL": "openai:scripted", "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "test"}
        with Fleet(home, apis=1, workers=1, settings=settings) as fleet:
            fleet.call(lambda client: client.add_number(ACCOUNT_SID, NUMBER, f"{fleet.api_urls[0]}{INBOUND}"))
            talk = Talk(fleet)
            until(lambda: talk.count() >= CONTACTS, fleet.logs)
            code, told = run(fleet, "backup", made, "--json")
            assert code == 0, told
            before = json.loads(told)["counts"]["messages"]
            after = talk.count() + 3 * CONTACTS  # what the set does not know of
            until(lambda: talk.count() >= after, fleet.logs)
            destroy(fleet)
            talk.end()
            for contact in range(CONTACTS // 2):
                talk.say(contact)  # while nobody is there; Twilio has it

            code, told = run(fleet, "restore", made, "--json")
            assert code == 0, told
            there = json.loads(told)
            assert before <= there["counts"]["messages"] < sum(map(len, talk.said.values())) + talk.count()
            silent = talk.count()
            for member in fleet.members.values():
                member.start()
            fleet._until_up(fleet.api_urls[0] + "/readyz")
            with opened(home) as rows:
                talk.say(CONTACTS - 1)
                # It is stored, and a worker has looked at turns and put them back.
                stored = "SELECT id FROM messages WHERE body = %s"
                until(lambda: bool(rows(stored, talk.said[CONTACTS - 1][-1])), fleet.logs)
                waits = "SELECT name FROM dbos.workflow_status WHERE status = 'ENQUEUED' AND delay_until_epoch_ms > 0"
                until(lambda: bool(rows(waits)), fleet.logs)
                assert talk.count() == silent, "nothing is sent before Twilio's list has spoken"
                code, told = run(fleet, "doctor")
                assert (code, "nothing is sent for 1 account" in told) == (1, True), told

                code, told = run(fleet, "restore", "release", "--json")
                assert code == 0, told
                [account] = json.loads(told)
                assert account["counts"]["received"] > 0
                assert account["counts"]["answers"] > 0
                until(lambda: not _missing(rows, talk), lambda: (_missing(rows, talk), account, fleet.logs()))
                for contact, words in talk.said.items():
                    heard = Counter(talk.answered(contact))
                    assert max(heard.values()) == 1, f"contact {contact} was answered twice: {heard}"
                    assert set(heard) <= set(words)
                unsure = rows("SELECT id FROM messages WHERE held_for = 'restored'")
                assert len(unsure) < CONTACTS, "who waits for an answer before they write again leaves no doubt"
            assert "nothing is sent" not in run(fleet, "doctor")[1]


def _missing(rows: Callable[..., list[dict[str, Any]]], talk: Talk) -> list[str]:
    """What contacts said that was neither answered nor is held for people to see."""
    seen = "SELECT body FROM messages WHERE direction = 'inbound' AND held_for = 'restored'"
    held = {row["body"] for row in rows(seen)}
    return [word for contact, words in talk.said.items() for word in set(words) - set(talk.answered(contact)) - held]
