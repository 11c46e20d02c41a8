"""Sets: made while everything works, whole or not at all, checked, and put back to the moment that was asked for."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from recado.cli.commands import app
from recado.db import embedded
from recado.db.secrets import new_key
from recado.ops.backup import sets
from recado.settings import Settings
from recado.wiring import database, wire
from tests.product import WAIT_S, establish

pytestmark = pytest.mark.timeout(240)
Ask = Callable[..., list[dict[str, Any]]]
ACCOUNT_SID, TOKEN, NUMBER = "AC" + "b" * 32, "the_token_of_the_backup", "whatsapp:+14155238886"


#: An entry of the ledger of erasures; of an owner whom no set knows.
ERASURE = json.dumps(
    {
        "form": 1,
        "owner_id": str(uuid4()),
        "erasure_id": str(uuid4()),
        "at": "2026-11-28T12:00:00+00:00",
        "key": "",
        "hashes": [],
        "suppressed_why": None,
    }
)


@dataclass(frozen=True)
class Home:
    """A home with an embedded database, and commands at it."""

    path: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: object, **variables: str | None) -> tuple[int, str]:
        """A command in this process: its exit code, and what it printed or complained of."""
        env = {name: None for name in os.environ if name.startswith("RECADO_")}
        told = [str(one) for one in arguments]
        done = CliRunner().invoke(app, told, env=env | {"RECADO_HOME": str(self.path)} | variables)
        if done.exception is None or isinstance(done.exception, SystemExit):
            return done.exit_code, done.stdout
        return 1, str(done.exception)

    def apart(self, *arguments: object) -> subprocess.Popen[str]:
        """The same in a process of its own."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "recado", *map(str, arguments)],
            env=env | {"RECADO_HOME": str(self.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    @contextmanager
    def opened(self) -> Iterator[Ask]:
        """The database, for as long as this is open."""
        with (
            database(Settings(home=self.path, database_url=None, secret_keys=None, _env_file=None)) as there,
            psycopg.connect(
                there.admin_url, row_factory=dict_row, options="-c search_path=recado", autocommit=True
            ) as conn,
        ):

            def ask(query: str, *parameters: Any) -> list[dict[str, Any]]:
                cursor = conn.execute(query, parameters)  # type: ignore[call-overload]
                return cursor.fetchall() if cursor.description else []

            yield ask

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.opened() as ask:
            return ask(query, *parameters)

    def gone(self) -> None:
        for process in self.started:  # of a test that failed
            process.kill()
            process.communicate()
        assert embedded.wait_until_stopped(self.path)
        shutil.rmtree(self.path.parent)


def at(folder: str) -> Home:
    # Short, for the socket's path.
    return Home(Path(tempfile.mkdtemp(prefix="r-")) / folder)


async def furnish(path: Path) -> None:
    """An owner with an account, and a file of theirs."""
    settings = Settings(home=path, database_url=None, secret_keys=None, _env_file=None)
    async with wire(settings) as wiring:
        owner = await establish(wiring, ACCOUNT_SID, TOKEN, NUMBER)
        media, file = uuid4(), path / "a-file"
        file.write_bytes(b"a picture of somebody")
        await wiring.storage.put(f"{owner}/{media}", file, content_type="image/png")
        async with await wiring.connect("recado_platform") as platform:
            await platform.execute(
                "INSERT INTO media (owner_id, id, announced_type, status, content_type, size_bytes, storage_key) "
                "VALUES (%s, %s, 'image/png', 'stored', 'image/png', 21, %s)",
                [owner, media, f"{owner}/{media}"],
            )
            await platform.execute(
                "INSERT INTO users (id, email, role, password_hash, password_changed_at) "
                "VALUES (%(id)s, 'a@example.com', 'admin', 'x', now())",
                {"id": media},
            )
            await platform.execute(
                "INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at) "
                "VALUES (%(id)s, %(id)s, sha256('x'), now(), now())",
                {"id": media},
            )


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    made = at("h")
    asyncio.run(furnish(made.path))
    yield made
    made.gone()


@pytest.fixture(scope="module")
def whole(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of that home, made while it runs; who changes it puts it right again."""
    folder = tmp_path_factory.mktemp("sets") / "set"
    code, told = home("backup", folder, "--json")
    assert code == 0, told
    assert json.loads(told)["media"] == {**json.loads(told)["media"], "kept": "copied", "files": 1, "missing": 0}
    return folder


@pytest.fixture
def elsewhere(home: Home) -> Iterator[Home]:
    """A home that has the keys and nothing else."""
    made = at("h")
    made.path.mkdir()
    shutil.copy(home.path / "secret.keys", made.path / "secret.keys")
    yield made
    made.gone()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_set_is_for_this_user_alone_and_holds_no_key_token_or_password(home: Home, whole: Path) -> None:
    for path in (whole, *whole.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    secret = [
        (home.path / "secret.keys").read_text().strip(),
        TOKEN,
        *json.loads((home.path / "postgres.json").read_text())["passwords"].values(),
    ]
    for path in files(whole):
        held = path.read_bytes()
        assert not any(one.encode() in held for one in secret), path


def test_a_set_is_never_overwritten(home: Home, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in files(whole)}
    code, told = home("backup", whole)
    assert (code, "never overwritten" in told) == (1, True)
    assert {path: path.stat().st_mtime_ns for path in files(whole)} == before


def test_one_that_was_cut_short_is_no_set(home: Home, elsewhere: Home, tmp_path: Path) -> None:
    process = home.apart("backup", tmp_path / "set")
    until(lambda: any(tmp_path.glob("set.unfinished-*/database/base")), lambda: process.poll())
    process.kill()
    process.wait()
    [left] = tmp_path.iterdir()
    assert left.name.startswith("set.unfinished-")
    code, told = elsewhere("restore", left)
    assert (code, "no set" in told) == (1, True)
    assert [path.name for path in elsewhere.path.iterdir()] == ["secret.keys"]


def until(true: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def _flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


DAMAGES: dict[str, Callable[[Path], Path]] = {
    "a bit of a table": lambda folder: max(
        (folder / "database" / "base").rglob("*"), key=lambda path: path.stat().st_size
    ),
    "a file of the database": lambda folder: folder / "database" / "global" / "pg_control",
    "the log": lambda folder: next(path for path in (folder / "database" / "pg_wal").iterdir() if path.is_file()),
    "PostgreSQL's manifest": lambda folder: folder / "database" / "backup_manifest",
    "an attachment": lambda folder: next(path for path in (folder / "media").rglob("*") if path.is_file()),
    "the list of attachments": lambda folder: folder / "media.sha256",
    "the manifest": lambda folder: folder / "manifest.json",
}


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_damaged_set_is_refused(home: Home, whole: Path, what: str, how: str) -> None:
    path = DAMAGES[what](whole)
    before = path.read_bytes()
    if how == "changed" and what == "the log":
        path.write_bytes(before[:100] + bytes(len(before) - 100))
    elif how == "changed":
        _flip(path)
    else:
        path.unlink()
    try:
        code, told = home("backup", "verify", whole)
        assert code == 1, told
        assert "Traceback" not in told
    finally:
        path.write_bytes(before)
        path.chmod(0o600)
    assert home("backup", "verify", whole)[0] == 0


def test_a_set_with_a_file_too_many_is_refused(home: Home, whole: Path) -> None:
    extra = whole / "database" / "base" / "extra"
    extra.touch()
    assert "no part of the copy" in home("backup", "verify", whole)[1]
    extra.unlink()


def test_nobody_without_the_keys_makes_or_changes_a_set_unseen(home: Home, whole: Path) -> None:
    path = whole / "manifest.json"
    before = path.read_text()
    outer = json.loads(before)
    path.write_text(json.dumps({**outer, "manifest": outer["manifest"].replace('"missing": 0', '"missing": 1')}))
    assert "was changed" in home("backup", "verify", whole)[1]
    path.write_text(before)


def test_what_can_not_be_put_back_is_refused_before_anything_is_touched(
    home: Home, elsewhere: Home, whole: Path
) -> None:
    def refused(*arguments: object, by: Home = elsewhere, says: str, **variables: str) -> None:
        code, told = by("restore", *arguments, **variables)
        assert code == 1
        assert says in told, told

    refused(whole, "--to", "2026-01-01T00:00:00Z", says="--to needs a set that was kept up")
    refused(whole, "--to", "2026-01-01T00:00:00", says="of which time zone?")
    refused(whole, says="not sealed with a key", RECADO_SECRET_KEYS=new_key())
    refused(
        whole,
        says="of an embedded database",
        RECADO_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        RECADO_SECRET_KEYS=(home.path / "secret.keys").read_text().strip(),
    )
    refused(home.path, says="no set")
    (elsewhere.path / "secret.keys").rename(elsewhere.path / "kept")
    refused(whole, says="there is no key")
    assert [path.name for path in elsewhere.path.iterdir()] == ["kept"], "no key was made up"
    with database(Settings(home=home.path, database_url=None, secret_keys=None, _env_file=None)):
        refused(whole, by=home, says="recado runs in")
    assert embedded.wait_until_stopped(home.path)
    refused(whole, by=home, says="--replace moves it aside")
    assert home.rows("SELECT count(*) AS n FROM twilio_accounts") == [{"n": 1}]


def test_a_followed_set_is_put_back_to_any_moment_and_nothing_starts_from_one_half_put_back(
    home: Home, elsewhere: Home, tmp_path: Path
) -> None:
    folder, moments = tmp_path / "set", []
    with home.opened() as ask:
        following = home.apart("backup", folder, "--follow")
        until((folder / "wal").is_dir, following.poll)
        for name in ("first", "second"):
            ask("INSERT INTO owners (id, name) VALUES (gen_random_uuid(), %s)", name)
            [row] = ask("SELECT clock_timestamp() AS now, pg_sleep(0.02)")
            moments.append(row["now"])
        assert ended(ask, following) == 0
        following = home.apart("backup", folder, "--follow")  # goes on where it was
        ask("INSERT INTO owners (id, name) VALUES (gen_random_uuid(), 'third')")
        entry = home.path / "media" / sets.LEDGER / str(uuid4())
        entry.parent.mkdir()
        entry.write_text(ERASURE)
        until((folder / sets.ERASURES / entry.name).exists, following.poll)
        assert ended(ask, following) == 0
        assert len(ask("SELECT slot_name FROM pg_replication_slots")) == 1

    late = datetime.now(UTC) + timedelta(hours=1)
    assert "at the earliest" in elsewhere("restore", folder, "--to", "2026-01-01T00:00:00Z")[1]
    code, told = elsewhere("restore", folder, "--to", late.isoformat())
    assert (code, "the set does not reach" in told) == (1, True), told
    code, told = elsewhere("owners", "list")
    assert (code, "was not finished" in told) == (1, True), told

    code, told = elsewhere("restore", folder, "--to", moments[0].isoformat(), "--json")
    assert code == 0, told
    done = json.loads(told)
    assert (done["quarantined"], done["sessions"], done["attachments"], done["erased"]) == (1, 1, 1, 0)
    with elsewhere.opened() as ask:
        names = {row["name"] for row in ask("SELECT name FROM owners")}
        assert ask("SELECT slot_name FROM pg_replication_slots") == [], "nobody follows this one"
    assert ("first" in names, "second" in names, "third" in names) == (True, False, False)
    ledger = elsewhere.path / "media" / sets.LEDGER
    assert [path.read_text() for path in ledger.iterdir()] == [ERASURE]
    [account] = json.loads(elsewhere("restore", "status", "--json")[1])
    assert account["released_at"] is None
    assert datetime.fromisoformat(account["since"]) < moments[0]

    assert embedded.wait_until_stopped(elsewhere.path)
    code, told = elsewhere("restore", folder, "--replace")
    assert code == 0, told
    names = {row["name"] for row in elsewhere.rows("SELECT name FROM owners")}
    assert {"first", "second", "third"} <= names
    assert len(list(elsewhere.path.glob("postgres.before-*"))) == 1, "what was there is moved aside"


def ended(ask: Ask, following: subprocess.Popen[str]) -> int:
    """Stop it once it has what was committed; its exit code."""
    [row] = ask("SELECT pg_current_wal_flush_lsn() AS lsn")
    had = "SELECT pid FROM pg_stat_replication WHERE flush_lsn >= %s"
    until(lambda: bool(ask(had, row["lsn"])), lambda: (following.poll(), ask("TABLE pg_stat_replication")))
    following.send_signal(signal.SIGTERM)
    following.communicate(timeout=WAIT_S)
    return following.returncode
