from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.conftest import Terminal
from tests.cli.rows import ACCOUNT_SID, CONTACT, NUMBER, TOKEN, Rows

WEBHOOK = "/channels/twilio/v1/webhooks/inbound"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()


def announced(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    return dict(json.loads("".join(lines)))


def test_a_delivery_that_failed_reaches_the_contact_once_after_a_retry(
    recado: Terminal, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    port = free_port()
    public = f"http://127.0.0.1:{port}"
    simulator = recado.start(
        *("simulator", "--port", 0, "--account-sid", ACCOUNT_SID, "--number", NUMBER),
        *("--webhook-url", public + WEBHOOK, "--json"),
        RECADO_SIMULATOR_TOKEN=f"file:{tmp_path}/token",
    )
    with running(simulator):
        there = announced(simulator)
        assert "auth_token" not in there
        serve = recado.start(
            *("serve", "--port", port),
            RECADO_PUBLIC_URL=public,
            RECADO_TWILIO_API_URL=there["url"],
            RECADO_QUIET_WINDOW_MS="50",
            RECADO_LOG_LEVEL="ERROR",
        )
        with running(serve):
            wait_until_open(port)
            at = ("--url", there["url"], "--json")
            fault = recado("simulator", "fault", "fails", "--count", 1, *at).json
            sent = recado("simulator", "send", "Bom dia!", "--from", CONTACT, *at)
            assert sent.json["statuses"] == [200]
            failed = until(lambda: recado("failed", "list", "--json").json, "a delivery fails")
            [struck] = recado("simulator", "faults", *at).json["faults"]
            assert (struck["id"], struck["hits"]) == (fault["id"], 1)
            assert recado("failed", "retry", failed[0]["id"], "--json").json[0]["outcome"] == "queued"
            told = until(lambda: delivered(recado, sent.json["id"]), "the reply is delivered")
            [reply] = told["replies"]
            assert [part["status"] for part in reply["parts"]] == ["delivered"]
            assert sum(" posted to Twilio" in moment["what"] for moment in told["timeline"]) == 2
            assert any("retried" in moment["what"] for moment in told["timeline"])


def delivered(recado: Terminal, sid: str) -> dict[str, Any] | None:
    told: dict[str, Any] = recado("trace", sid, "--json").json
    return told if [reply["status"] for reply in told["replies"]] == ["delivered"] else None


def until(look: Any, what: str) -> Any:
    """What `look` finds, once it finds something. The limit is for a machine that does much else."""
    end = time.monotonic() + 45
    while not (found := look()):
        assert time.monotonic() < end, f"not in time: {what}"
    return found


def wait_until_open(port: int) -> None:
    def answers() -> bool:
        time.sleep(0.05)
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(answers, "the server listens")


def test_a_simulator_that_is_not_there_or_can_not_start_is_one_line(bare: Terminal) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    ran = bare("simulator", "faults", "--url", nowhere)
    assert ran.code == 1
    assert f"no simulator answers at {nowhere}" in ran.complaint
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = bare("simulator", "--port", taken.getsockname()[1])
    assert ran.code == 1
    assert "can't listen" in ran.complaint


def test_a_token_that_the_simulator_made_is_shown_for_it_is_needed(bare: Terminal) -> None:
    simulator = bare.start("simulator", "--port", 0, "--json")
    with running(simulator):
        assert len(announced(simulator)["auth_token"]) == 32


def test_files_and_places_are_sent_and_the_window_is_closed_from_the_command_line(
    bare: Terminal, tmp_path: Path
) -> None:
    note, picture = tmp_path / "nota.ogg", tmp_path / "foto.png"
    note.write_bytes(b"OggS" + bytes(100))
    picture.write_bytes(b"\x89PNG" + bytes(100))
    simulator = bare.start("simulator", "--port", 0, "--webhook-url", f"http://127.0.0.1:{free_port()}/", "--json")
    with running(simulator):
        url = announced(simulator)["url"]
        send = ("simulator", "send", "--from", CONTACT, "--url", url, "--json")
        for words in (
            ("--file", note, "--voice"),
            ("--file", picture, "--file", picture, "o bolo"),
            ("--place", "-23.5614,-46.6559"),
        ):
            # Nothing listens to the webhooks, so that none was accepted.
            assert bare(*send, *words).code == 1
        with urllib.request.urlopen(f"{url}/sim/threads/{CONTACT}") as answer:
            thread = json.load(answer)["messages"]
        kinds = [(bubble["kind"], bubble["body"]) for bubble in thread]
        assert kinds == [("audio", ""), ("image", "o bolo"), ("image", ""), ("location", "")]
        written = CONTACT.replace("whatsapp:+55", "WhatsApp: 55 ")
        assert bare("simulator", "send", "--from", written, "--url", url, "--json", "Oi").code == 1
        with urllib.request.urlopen(f"{url}/sim/threads/{CONTACT}") as answer:
            assert len(json.load(answer)["messages"]) == 5
        for nobody in ("whatsapp:ana", "sms:+5511987654321", ""):
            for refused in (
                bare("simulator", "send", "--from", nobody, "--url", url, "Oi"),
                bare("simulator", "window", nobody, "--url", url),
            ):
                assert (refused.code, "a contact is whatsapp: and E.164" in refused.complaint) == (2, True)
        closed = bare("simulator", "window", written, "--url", url, "--json")
        assert closed.json == {"contact": CONTACT, "left_s": 0}
        with urllib.request.urlopen(f"{url}/sim/threads") as answer:
            assert json.load(answer)["threads"][0]["window_s"] == 0
        for wrong in ((), ("--voice",), ("--place", "here"), ("--place", "91,0"), ("--file", tmp_path / "none")):
            assert bare(*send, *wrong).code == 2
