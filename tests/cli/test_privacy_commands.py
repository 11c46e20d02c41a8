"""A person's data at the command line: a copy in a folder, an erasure, and for how long an owner keeps what."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import Terminal
from tests.cli.rows import Rows


def test_a_copy_is_written_into_a_folder_of_its_own_with_hashes(recado: Terminal, rows: Rows, tmp_path: Path) -> None:
    contact, out = rows.value("SELECT id FROM contacts"), tmp_path / "copy"
    named = ("contacts", "export", contact, "--owner", rows.owner, "--out", out)
    done = recado(*named, "--json").json
    assert done["contact_id"] == str(contact)
    assert {file["path"]: file["sha256"] for file in done["files"]} == {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert json.loads((out / "manifest.json").read_text())["files"] == done["files"]
    assert (out.stat().st_mode & 0o777, (out / "contacts.jsonl").stat().st_mode & 0o777) == (0o700, 0o600)
    [person] = [json.loads(line) for line in (out / "contacts.jsonl").read_text().splitlines()]
    assert person["id"] == str(contact)
    again = recado(*named)
    assert again.code == 2
    assert "not empty" in again.complaint
    assert rows.value("SELECT count(*) FROM audit WHERE action = 'export'") == 1


def test_an_erasure_is_asked_for_once_and_listed(recado: Terminal, rows: Rows) -> None:
    contact = rows.value("SELECT id FROM contacts")
    named = ("contacts", "erase", contact, "--owner", rows.owner)
    first, second = recado(*named, "--json").json, recado(*named, "--json").json
    assert (first["id"], first["contact_ids"], first["status"]) == (second["id"], [str(contact)], "stopping")
    assert recado("contacts", "erasures", "--owner", rows.owner, "--json").json == [second]
    assert "stopping" in recado("contacts", "erasures", "--owner", rows.owner).out
    assert rows.value("SELECT count(*) FROM audit WHERE action = 'erase'") == 1
    assert rows.value("SELECT count(*) FROM messages WHERE status IN ('received', 'queued', 'held')") == 0
    assert recado("contacts", "export", contact, "--owner", rows.owner, "--out", "copy").code == 1


@pytest.mark.parametrize("command", [("export", "--out", "copy"), ("erase",)])
def test_a_contact_or_owner_that_there_is_not_is_said(recado: Terminal, rows: Rows, command: tuple[str, ...]) -> None:
    name, *more = command
    contact = rows.value("SELECT id FROM contacts")
    assert "no contact" in recado("contacts", name, uuid4(), "--owner", rows.owner, *more).complaint
    assert "owner" in recado("contacts", name, contact, "--owner", uuid4(), *more).complaint
    assert rows.value("SELECT count(*) FROM erasures") == 0


def test_periods_are_shown_tried_and_set(recado: Terminal, rows: Rows) -> None:
    command = ("owners", "retention", rows.owner)
    assert recado(*command, "--json").json["days"] == dict.fromkeys(("messages", "media", "events", "audit"))
    tried = recado(*command, "--messages", "365", "--dry-run", "--json").json
    assert (tried["set"], tried["days"]["messages"]) == (False, 365)
    assert set(tried["would_go"]) == {"messages", "messages_waiting"}
    assert rows.value("SELECT count(*) FROM retention") == 0
    recado(*command, "--messages", "365", "--media", "90")
    kept = recado(*command, "--media", "forever", "--json").json["days"]
    assert (kept["messages"], kept["media"]) == (365, None)
    assert "365 days" in recado(*command).out
    assert rows.value("SELECT count(*) FROM audit WHERE action = 'set_retention'") == 2


@pytest.mark.parametrize("given", [("--messages", "2"), ("--audit", "29"), ("--media", "soon"), ("--events", "-1")])
def test_a_period_that_can_be_none_is_wrong_use(recado: Terminal, rows: Rows, given: tuple[str, str]) -> None:
    assert recado("owners", "retention", rows.owner, *given).code == 2
    assert rows.value("SELECT count(*) FROM retention") == 0
