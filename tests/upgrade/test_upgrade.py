"""The release before and this one run together on the new schema, under load and kills; then the one before alone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recado.db.embedded import Lease
from recado.db.schema import HEAD
from tests.chaos.test_chaos import check, echo
from tests.conftest import SECRET_KEYS
from tests.fleet import ACCOUNT_SID, free_port
from tests.model_server import ModelServer
from tests.postgres import create_database, drop_database
from tests.upgrade.releases import NUMBERS, Releases, Watch, broken, promised, unfinished, unpack, who_ended_work

CONTACTS = 8


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="recado-upgrade-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def url(cluster: Lease) -> Iterator[str]:
    url = create_database(cluster)
    yield url
    drop_database(cluster, url)


class Load:
    """Contacts who write one after the other until they are told to end; which of their messages were accepted."""

    def __init__(self, fleet: Releases) -> None:
        self.fleet = fleet
        self.accepted: dict[int, list[str]] = {contact: [] for contact in range(CONTACTS)}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(contact,)) for contact in range(CONTACTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(120)

    def count(self) -> int:
        return sum(map(len, self.accepted.values()))

    def _write(self, contact: int) -> None:
        chance, number = random.Random(contact), 0
        while not self._ended.wait(chance.uniform(0.5, 1.5)):
            words = f"c{contact}m{number}"
            number += 1
            sent = self.fleet.call(
                lambda client, words=words: client.send(  # type: ignore[misc]
                    words, account_sid=ACCOUNT_SID, from_=f"whatsapp:+55119000{contact:05d}", to=NUMBERS[contact % 2]
                ),
                timeout_s=120,
            )
            gives_up = time.monotonic() + 60
            while not (sent.statuses and sent.statuses[-1] == 200) and time.monotonic() < gives_up:
                time.sleep(0.2)
                sent = self.fleet.call(lambda client, sid=sent.sid: client.resend(sid), timeout_s=120)  # type: ignore[misc]
            assert sent.statuses
            assert sent.statuses[-1] == 200
            self.accepted[contact].append(words)


def until(met, what: str, fleet: Releases, timeout_s: float = 90) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < deadline, f"{what}\n{fleet.logs()}"
        fleet.note()
        time.sleep(0.05)


def grown(load: Load, by: int, fleet: Releases) -> None:
    """Wait until so many more messages were accepted."""
    enough = load.count() + by
    until(lambda: load.count() >= enough, f"{load.count()} of {enough} messages were accepted", fleet)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_release_is_put_beside_the_one_before_killed_and_taken_back_and_nothing_is_lost_doubled_or_stuck(
    home: Path, url: str
) -> None:
    seed = int(os.environ.get("RECADO_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    chance = random.Random(seed)
    release = unpack(home / "release")
    with ModelServer(echo) as model:
        settings = {"RECADO_MODEL": "openai:scripted", "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "test"}
        settings |= {"RECADO_DATABASE_URL": url, "RECADO_SECRET_KEYS": SECRET_KEYS}
        settings |= {"RECADO_LIMITS": "off", "RECADO_TURNS_PER_HOUR": "0"}  # on a slow machine they write for long
        with Releases(home, apis=1, workers=2, settings=settings, release=release, url=url) as fleet:
            before = promised(url)
            (old_api,) = fleet.api_urls
            for number in NUMBERS:
                fleet.route(number, old_api)
            watch = Watch(old_api)
            with Load(fleet) as load:
                grown(load, 4, fleet)
                # Expand: under load, with the release before alone.
                ((code, said),) = fleet.command((["migrate"], ""), previous=False)
                assert (code, f"-> {HEAD}" in said) == (0, True)
                assert broken(before, promised(url)) == []
                grown(load, 4, fleet)
                # Deploy: this release beside it, and both die as they may.
                port = free_port()
                new_api = f"http://127.0.0.1:{port}"
                fleet.join("new-api", "api", "--port", str(port), RECADO_PUBLIC_URL=new_api)
                for number in range(2):
                    fleet.join(f"new-worker{number}", "worker")
                fleet._until_up(new_api + "/readyz")
                fleet.route(NUMBERS[1], new_api)
                until(lambda: who_ended_work(url, fleet.pids)["this"] > 2, "this release works", fleet)
                victims = ["worker0", "new-worker0", "api0", "worker1", "new-worker1", "new-api"]
                for victim in chance.sample(victims, len(victims)):
                    grown(load, 2, fleet)
                    fleet.members[victim].kill()
                grown(load, 4, fleet)
                both = who_ended_work(url, fleet.pids)
                assert min(both.values()) > 0, f"one release did nothing: {both}"
                # Back: this release goes, and the one before is started anew on the newer schema.
                after = promised(url)
                fleet.route(NUMBERS[1], old_api)
                for name in [name for name in fleet.members if name.startswith("new-")]:
                    fleet.retire(name, chance.choice([signal.SIGTERM, signal.SIGKILL]))
                assert fleet.command((["migrate"], ""), previous=True)[0][0] == 0
                assert promised(url) == after, "nothing was put back"
                fleet.join("worker2", "worker", previous=True)
                grown(load, 8, fleet)
            deadline = time.monotonic() + 90
            while (wrong := [*check(fleet, load.accepted), *map(str, unfinished(url))]) and time.monotonic() < deadline:
                time.sleep(0.3)
            watch.end()
            deaths = {name: member.deaths for name, member in fleet.members.items()}
            assert not wrong, f"seed {seed}, deaths {deaths}: {wrong}\n{fleet.logs()}"
            assert not [said for said in watch.said if "schema" in said], "the release before is ready all the while"
            assert watch.ready > 5
            assert sum(deaths.values()) >= 5, deaths
