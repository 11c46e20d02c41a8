"""`recado secrets`: every stored secret comes under the first key, whatever goes on meanwhile."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from recado.db.pool import connect
from recado.db.secrets import SEALED, Keyring, keyring, load_keyring, new_key
from recado.errors import SecretError
from recado.ids import new_id
from recado.ops.rekey import LOCK, rekey, usage
from recado.settings import Settings
from tests.cli.conftest import Terminal
from tests.cli.rows import ACCOUNT_SID, TOKEN, Rows
from tests.conftest import SECRET_KEYS

NEW = base64.urlsafe_b64encode(b"another-key-of-the-tests-32bytes").decode()


def sealed(rows: Rows) -> bytes:
    found = rows.value("SELECT auth_token FROM twilio_accounts WHERE account_sid = %s", ACCOUNT_SID)
    assert isinstance(found, bytes)
    return found


def opened(rows: Rows, ring: Keyring) -> str:
    return ring.open(sealed(rows), owner_id=rows.owner, row=row_of(str(rows.account)))


def test_a_rotation_encrypts_under_the_first_key_and_says_which_may_go(recado: Terminal, rows: Rows) -> None:
    both = f"{NEW},{SECRET_KEYS}"
    before = recado("secrets", "status", "--json", RECADO_SECRET_KEYS=both).json
    assert [(key["place"], key["secrets"], key["removable"]) for key in before] == [(1, 0, False), (2, 1, False)]
    done = recado("secrets", "rotate", "--json", RECADO_SECRET_KEYS=both).json
    assert (done["encrypted"], done["unreadable"]) == (1, [])
    assert [(key["place"], key["secrets"], key["removable"]) for key in done["keys"]] == [(1, 1, False), (2, 0, True)]
    assert opened(rows, keyring([NEW])) == TOKEN
    assert recado("secrets", "rotate", "--json", RECADO_SECRET_KEYS=both).json["encrypted"] == 0


def test_a_rotation_keeps_each_secret_bound_to_its_owner_and_row(recado: Terminal, rows: Rows) -> None:
    # Two owners, one id: each has its own secret, and neither row is left out or written with the other's.
    other = new_id()
    place, before = row_of(str(rows.account)), keyring([SECRET_KEYS])
    rows.conn.execute("INSERT INTO owners (id, name) VALUES (%s, 'Outra')", [other])
    rows.conn.execute(
        "INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token) VALUES (%s, %s, %s, %s)",
        [other, rows.account, "AC" + "b" * 32, before.seal("another", owner_id=other, row=place)],
    )
    done = recado("secrets", "rotate", "--json", RECADO_SECRET_KEYS=f"{NEW},{SECRET_KEYS}").json
    assert (done["encrypted"], done["keys"][0]["secrets"]) == (2, 2)
    stored = dict(rows.conn.execute("SELECT owner_id, auth_token FROM twilio_accounts").fetchall())
    ring = keyring([NEW])
    for owner, secret in ((rows.owner, TOKEN), (other, "another")):
        assert ring.open(stored[owner], owner_id=owner, row=place) == secret
    with pytest.raises(SecretError):
        ring.open(stored[other], owner_id=rows.owner, row=place)


def test_what_no_key_opens_is_named_and_the_rest_is_done(recado: Terminal, rows: Rows) -> None:
    ran = recado("secrets", "rotate", RECADO_SECRET_KEYS=NEW)
    assert ran.code == 1
    assert f"can't be opened: twilio_accounts/{rows.account}/auth_token" in ran.out
    assert "missing" in ran.out
    assert TOKEN not in ran.out + ran.err


def test_a_new_key_comes_first_into_the_key_file_and_a_process_that_runs_finds_it(
    recado: Terminal, rows: Rows, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(SECRET_KEYS + "\n")
    running = load_keyring(Settings(secret_keys=f"file:{file}", _env_file=None))
    ran = recado("secrets", "rotate", "--new-key", RECADO_SECRET_KEYS=f"file:{file}")
    assert (ran.code, file.read_text().split()[1]) == (0, SECRET_KEYS)
    assert file.stat().st_mode & 0o777 == 0o600
    assert opened(rows, running) == TOKEN
    assert running.ids == load_keyring(Settings(secret_keys=f"file:{file}", _env_file=None)).ids
    assert file.read_text().split()[0] not in ran.out + ran.err


def test_while_a_rotation_runs_another_changes_neither_keys_nor_secrets(
    recado: Terminal, rows: Rows, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(SECRET_KEYS + "\n")
    before = sealed(rows)
    rows.conn.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    for more in ((), ("--new-key",)):
        ran = recado("secrets", "rotate", *more, RECADO_SECRET_KEYS=f"file:{file}")
        assert (ran.code, "another" in ran.complaint) == (1, True)
    assert (file.read_text(), sealed(rows)) == (SECRET_KEYS + "\n", before)


def test_two_rotations_at_once_lose_no_key(recado: Terminal, rows: Rows, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(SECRET_KEYS + "\n")
    with ThreadPoolExecutor(3) as pool:
        command = ("secrets", "rotate", "--new-key")
        ran = list(pool.map(lambda _: recado.apart(*command, RECADO_SECRET_KEYS=f"file:{file}"), range(3)))
    keys = file.read_text().split()
    assert len(keys) == 1 + [one.code for one in ran].count(0) > 1
    assert opened(rows, keyring(keys)) == TOKEN


def test_a_new_key_needs_a_key_file(recado: Terminal, rows: Rows) -> None:
    ran = recado("secrets", "rotate", "--new-key")
    assert ran.code == 2
    assert "RECADO_SECRET_KEYS=file:" in ran.err


async def test_a_rotation_that_was_stopped_goes_on_where_it_stopped(database_url: str) -> None:
    """In batches, each a transaction: what was done before a crash is done."""
    old, both = keyring([SECRET_KEYS]), keyring([NEW, SECRET_KEYS])
    with psycopg.connect(database_url, options="-c search_path=recado") as conn:
        owner = new_id()
        conn.execute("INSERT INTO owners (id, name) VALUES (%s, 'x')", [owner])
        for index in range(25):
            conn.execute(
                "INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token) "
                "SELECT owners.id, %s, %s, %s FROM owners",
                [
                    name := f"{index:08d}-0000-4000-8000-000000000000",
                    f"AC{index:032d}",
                    old.seal("t", owner_id=owner, row=row_of(name)),
                ],
            )

    class Crash(Exception):
        pass

    left = 13

    def advance() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Crash

    async with await connect(database_url, "recado_platform") as platform:
        with pytest.raises(Crash):
            await rekey(platform, both, advance=advance, batch=5)
        assert [use.secrets for use in await usage(platform, both)] == [10, 15]
        assert (await rekey(platform, both, batch=5)).secrets == 15
        assert [use.removable for use in await usage(platform, both)] == [False, True]
        rows = await (await platform.execute("SELECT id, auth_token FROM twilio_accounts")).fetchall()
    assert {keyring([NEW]).open(row["auth_token"], owner_id=owner, row=row_of(str(row["id"]))) for row in rows} == {"t"}


def row_of(account: str) -> str:
    return f"twilio_accounts/{account}/auth_token"


def test_every_column_that_could_hold_a_sealed_secret_is_rotated_or_is_a_hash(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        found = conn.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'recado' AND data_type = 'bytea'"
        ).fetchall()
    hashes = {("sign_in_failures", "subject"), ("media", "sha256"), ("contents", "hash"), ("password_salts", "grain")}
    others = {(table, column) for table, column in found if not column.endswith("_hash")} - hashes
    assert others == {(table, column) for table, columns in SEALED.items() for column in columns}


def test_keys_are_read_from_a_file_and_a_missing_one_is_told_by_the_variable(tmp_path: Path) -> None:
    from recado.errors import SettingsError

    file = tmp_path / "keys"
    one, two = new_key(), new_key()
    file.write_text(f"{one},\n{two}\n")
    assert load_keyring(Settings(secret_keys=f"file:{file}", _env_file=None)).ids == keyring([one, two]).ids
    file.unlink()
    with pytest.raises(SettingsError, match="RECADO_SECRET_KEYS"):
        load_keyring(Settings(secret_keys=f"file:{file}", _env_file=None))


def test_every_secret_of_a_command_may_come_in_a_file(recado: Terminal, rows: Rows, tmp_path: Path) -> None:
    url, keys = tmp_path / "url", tmp_path / "keys"
    url.write_text(recado.environment["RECADO_DATABASE_URL"] + "\n")
    keys.write_text(SECRET_KEYS + "\n")
    given = {"RECADO_DATABASE_URL": f"file:{url}", "RECADO_SECRET_KEYS": f"file:{keys}"}
    [status] = recado("secrets", "status", "--json", **given).json
    assert status["secrets"] == 1
    url.write_text("")
    refused = recado("secrets", "status", **given)
    assert refused.code == 2
    assert "RECADO_DATABASE_URL: " in refused.complaint
    assert "empty" in refused.complaint


@pytest.mark.parametrize("words", [["secrets", "status"], ["worker"], ["api", "--port", "0"], ["migrate"]])
def test_a_provider_key_whose_file_is_missing_stops_every_process_at_its_start(
    recado: Terminal, words: list[str]
) -> None:
    refused = recado(*words, OPENAI_API_KEY="file:/nowhere/key")
    assert refused.code == 2
    assert refused.complaint == "recado: OPENAI_API_KEY: file:/nowhere/key: No such file or directory\n"
