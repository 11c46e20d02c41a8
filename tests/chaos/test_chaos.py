"""Processes and PostgreSQL are killed at random under load; what counts is what the simulator's contacts saw."""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recado.db import embedded
from tests.fleet import ACCOUNT_SID, INBOUND, NUMBER, Fleet
from tests.model_server import ModelServer, Reply, Request

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
CONTACTS, MESSAGES = 16, 4


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="recado-chaos-"))
    yield path
    assert embedded.wait_until_stopped(path)
    shutil.rmtree(path)


def echo(request: Request) -> Reply:
    """An answer that names what it answers."""
    return Reply(text="re: " + " ".join(re.findall(r"c\d+m\d+", request.last_user_text)), delay_s=0.3)


def test_whatever_dies_every_accepted_message_is_answered_exactly_once_and_in_order(home: Path) -> None:
    seed = int(os.environ.get("RECADO_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    seconds = float(os.environ.get("RECADO_CHAOS_SECONDS", "12"))
    chance = random.Random(seed)
    with ModelServer(echo) as model:
        settings = {"RECADO_MODEL": "openai:scripted", "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "test"}
        with Fleet(home, settings=settings) as fleet:
            for index, url in enumerate(fleet.api_urls):
                fleet.call(
                    lambda client, index=index, url=url: client.add_number(  # type: ignore[misc]
                        ACCOUNT_SID, NUMBER if index == 0 else f"{NUMBER}{index}", f"{url}{INBOUND}#rc=5&rp=ct,rt,5xx"
                    )
                )
            fleet.call(lambda client: client.add_fault(operation="callback", copies=2, disorder=True, probability=0.3))
            for trouble in (
                {"http_status": 500, "when": "after"},
                {"http_status": 503},
                {"drop": True, "when": "after"},
            ):
                fleet.call(
                    lambda client, trouble=trouble: client.add_fault(  # type: ignore[misc]
                        operation="create", probability=0.08, **trouble
                    )
                )
            fleet.call(lambda client: client.add_fault(operation="create", probability=0.2, latency_ms=400))
            # Without its callbacks a message that was taken unseen can be found in Twilio's list only.
            fleet.call(lambda client: client.add_fault(operation="callback", lose=True, probability=0.3))
            accepted = {contact: [] for contact in range(CONTACTS)}  # type: dict[int, list[str]]
            killing = threading.Event()
            killer = threading.Thread(target=kill_at_random, args=(fleet, chance, killing, seconds))
            writers = [
                threading.Thread(target=write, args=(fleet, contact, accepted[contact], seconds))
                for contact in range(CONTACTS)
            ]
            for thread in [killer, *writers]:
                thread.start()
            for thread in [killer, *writers]:
                thread.join()
            deaths = {name: member.deaths for name, member in fleet.members.items()}
            wrong = settle(fleet, accepted)
            assert not wrong, f"seed {seed}, deaths {deaths}: {wrong}\n{fleet.logs()}"
            assert sum(deaths.values()) >= 3, f"nothing was killed: {deaths}"
            assert sum(map(len, accepted.values())) == CONTACTS * MESSAGES, "not everything was accepted in the end"


def kill_at_random(fleet: Fleet, chance: random.Random, _: threading.Event, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(chance.uniform(0.4, 1.6))
        victim = chance.choice(["api0", "worker0", "worker1", "worker0", "worker1", "postgres"])
        if victim == "postgres":
            fleet.kill_postgres()
        else:
            fleet.members[victim].kill()


def write(fleet: Fleet, contact: int, accepted: list[str], seconds: float) -> None:
    """One contact, who writes again when the last message was taken or refused."""
    chance = random.Random(contact)
    for number in range(MESSAGES):
        time.sleep(chance.uniform(0.1, seconds / MESSAGES))
        words = f"c{contact}m{number}"
        sent = fleet.call(
            lambda client, words=words: client.send(  # type: ignore[misc]
                words, account_sid=ACCOUNT_SID, from_=f"whatsapp:+55119000{contact:05d}", to=NUMBER
            ),
            timeout_s=120,
        )
        # Whoever set up Twilio's retries finds the processes back before they are used up; the busier the machine, the
        # longer that takes. What comes again may have been stored already, its 200 lost: that changes nothing.
        gives_up = time.monotonic() + 60
        while not (sent.statuses and sent.statuses[-1] == 200) and time.monotonic() < gives_up:
            time.sleep(0.3)
            sent = fleet.call(lambda client, sid=sent.sid: client.resend(sid), timeout_s=120)  # type: ignore[misc]
        if sent.statuses and sent.statuses[-1] == 200:
            accepted.append(words)


def settle(fleet: Fleet, accepted: dict[int, list[str]], timeout_s: float = 90) -> list[str]:
    """What is still wrong when everything had its time; empty as soon as all is right and stays so."""
    deadline = time.monotonic() + timeout_s
    while True:
        wrong = check(fleet, accepted)
        if not wrong:
            time.sleep(3)
            return check(fleet, accepted)
        if time.monotonic() > deadline:
            return wrong
        time.sleep(0.5)


def check(fleet: Fleet, accepted: dict[int, list[str]]) -> list[str]:
    wrong = []
    for contact, words in accepted.items():
        address = f"whatsapp:+55119000{contact:05d}"
        replies = fleet.call(lambda client, address=address: client.replies(address))  # type: ignore[misc]
        answered = [word for reply in replies for word in re.findall(r"c\d+m\d+", reply.body)]
        if len(answered) != len(set(answered)):
            wrong.append(f"contact {contact} was answered twice: {answered}")
        if answered != sorted(answered, key=lambda word: int(word.split("m")[1])):
            wrong.append(f"contact {contact} was answered out of order: {answered}")
        missing = [word for word in words if word not in answered]
        if missing:
            wrong.append(f"contact {contact} waits for {missing}, got {answered}")
    return wrong
