"""`recado backup` and `recado restore` of an external database, and keys that don't fit what is stored."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recado.conversations import erased
from recado.db.secrets import keyring, new_key
from recado.ids import new_id
from recado.ops.backup import sets
from tests.cli.conftest import Terminal
from tests.cli.rows import ACCOUNT_SID, CONTACT, Rows
from tests.conftest import SECRET_KEYS


@pytest.fixture
def made(recado: Terminal, rows: Rows, tmp_path: Path) -> Path:
    assert rows.account
    folder = tmp_path / "set"
    assert recado("backup", folder, "--json").json["database"]["kind"] == "external"
    return folder


def state(rows: Rows) -> Any:
    query = "SELECT since, released_at, released_by FROM quarantine ORDER BY restored_at"
    return rows.conn.execute(query).fetchall()


def test_a_set_of_an_external_database_says_what_is_not_in_it(recado: Terminal, rows: Rows, tmp_path: Path) -> None:
    assert rows.account
    told = recado("backup", tmp_path / "set")
    assert "external, NOT in the set" in told.out
    assert keyring([SECRET_KEYS]).ids[0] in told.out
    assert not (tmp_path / "set" / "database").exists()
    assert recado("backup", tmp_path / "other", "--follow").complaint.startswith("recado: --follow is for the embedded")
    assert recado("backup", tmp_path / "other", "--media", "some").code == 2


def test_after_its_own_backup_was_put_back_an_external_database_is_silent_from_before_that_moment(
    recado: Terminal, rows: Rows, made: Path
) -> None:
    to = datetime.now(UTC) - timedelta(hours=3)
    told = recado("restore", made, "--to", to.isoformat(), "--json").json
    assert told["quarantined"] == 1
    [(since, released_at, _)] = state(rows)
    assert (since < to, released_at) == (True, None)
    [account] = recado("restore", "status", "--json").json
    assert (account["account_sid"], account["released_at"]) == (ACCOUNT_SID, None)
    [entry] = rows.conn.execute("SELECT action, thing, caller_kind FROM audit").fetchall()
    assert entry == ("restore", "database", "cli")


def test_whom_a_database_brings_back_who_was_erased_after_the_backup_is_erased_again(
    recado: Terminal, rows: Rows, made: Path
) -> None:
    ring, erasure = keyring([SECRET_KEYS]), new_id()
    sealed = ring.seal("11" * 32, owner_id=rows.owner, row=erased.key_row(rows.owner))
    entry = {
        "form": 1,
        "owner_id": str(rows.owner),
        "erasure_id": str(erasure),
        "at": datetime.now(UTC).isoformat(),
        "key": b64encode(sealed).decode(),
        "hashes": [erased.digest(erased.opened(ring, rows.owner, sealed), CONTACT).hex()],
        "suppressed_why": None,
    }
    place = recado.folder / ".recado" / "media" / sets.LEDGER / str(erasure)
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(entry))
    assert recado("restore", made, "--json").json["erased"] == 1
    assert rows.conn.execute("SELECT count(*) FROM erasures WHERE replayed").fetchone() == (1,)
    assert rows.conn.execute("SELECT count(*) FROM contacts WHERE identity_key = %s", [CONTACT]).fetchone() == (0,)
    place.write_text("torn")
    assert "ledger of erasures can't be read" in recado("restore", made).complaint


def test_while_a_worker_works_on_the_database_nothing_is_done(recado: Terminal, rows: Rows, made: Path) -> None:
    rows.conn.execute("SELECT pg_advisory_lock(4711)")
    rows.conn.execute(
        "INSERT INTO executors (id, lock_key, kind, host, pid, queues) VALUES ('w', 4711, 'worker', 'h', 1, '{turns}')"
    )
    assert "stop every process of recado first" in recado("restore", made).complaint
    assert state(rows) == []


def test_an_account_that_can_not_be_asked_stays_silent_until_somebody_decides(
    recado: Terminal, rows: Rows, made: Path
) -> None:
    recado("restore", made)
    rows.conn.execute("UPDATE restores SET restored_at = now() - interval '1 hour'")
    told = recado("restore", "release")  # nobody is at RECADO_TWILIO_API_URL
    assert told.code == 1
    assert "Twilio could not be reached" in told.out
    assert state(rows)[0][1] is None
    assert recado("restore", "release", "--without-asking").complaint.endswith("it is a decision for each\n")
    assert recado("restore", "release", "--account", "AC" + "9" * 32, "--without-asking").code == 1
    told = recado("restore", "release", "--account", ACCOUNT_SID, "--without-asking")
    assert (told.code, "released without asking" in told.out) == (0, True)
    assert state(rows)[0][2] == "unasked"
    assert json.loads(recado("restore", "release", "--json").out)[0]["released_by"] == "unasked"


def test_a_set_made_by_a_newer_schema_is_refused(recado: Terminal, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recado.errors import UsageError
    from recado.ops.backup import restore

    manifest = replace(sets.read(made, keyring([SECRET_KEYS])), schema="9999")
    with pytest.raises(UsageError, match="newer than this one's"):
        restore.must_reach(made, manifest, None, external=True)


@pytest.mark.parametrize("command", [("api", "--port", "0"), ("worker",), ("serve", "--port", "0")])
def test_nothing_starts_with_keys_that_do_not_open_what_is_stored(
    recado: Terminal, rows: Rows, command: tuple[str, ...]
) -> None:
    assert rows.account
    other = new_key()
    complaint = recado.apart(*command, RECADO_SECRET_KEYS=other)
    assert complaint.code == 2
    line = complaint.err.strip().splitlines()[-1]
    for fingerprint in (*keyring([SECRET_KEYS]).ids, *keyring([other]).ids):
        assert fingerprint in line
    assert SECRET_KEYS not in complaint.err
    assert other not in complaint.err
