"""Secrets at rest: readable with the right keys, in the right row, and nowhere else."""

from __future__ import annotations

import base64
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from recado.db.secrets import LOOK_S, add_key, keyring, load_keyring
from recado.errors import SecretError, SettingsError
from recado.settings import Settings


def key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


RING = keyring([key()])
OWNER, OTHER = uuid4(), uuid4()


@given(st.text(), st.text())
def test_what_was_sealed_opens_for_the_row_it_was_sealed_for(secret: str, row: str) -> None:
    secret, row = (text.encode("utf-8", "replace").decode() for text in (secret, row))
    sealed = RING.seal(secret, owner_id=OWNER, row=row)
    assert RING.open(sealed, owner_id=OWNER, row=row) == secret
    with pytest.raises(SecretError):
        RING.open(sealed, owner_id=OWNER, row=row + "2")
    for owner in (OTHER, None):
        with pytest.raises(SecretError):
            RING.open(sealed, owner_id=owner, row=row)


def test_a_ciphertext_that_was_changed_anywhere_does_not_open() -> None:
    sealed = RING.seal("token", owner_id=OWNER, row="a")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SecretError):
            RING.open(bytes(changed), owner_id=OWNER, row="a")
    for length in range(len(sealed)):
        with pytest.raises(SecretError):
            RING.open(sealed[:length], owner_id=OWNER, row="a")


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert RING.seal("token", owner_id=OWNER, row="a") != RING.seal("token", owner_id=OWNER, row="a")


def test_after_a_change_of_keys_the_first_encrypts_and_all_decrypt() -> None:
    old, new = key(), key()
    sealed_before = keyring([old]).seal("token", owner_id=OWNER, row="a")
    during = keyring([new, old])
    assert during.open(sealed_before, owner_id=OWNER, row="a") == "token"
    sealed_after = during.seal("token", owner_id=OWNER, row="a")
    assert keyring([new]).open(sealed_after, owner_id=OWNER, row="a") == "token"
    with pytest.raises(SecretError):
        keyring([old]).open(sealed_after, owner_id=OWNER, row="a")


@pytest.mark.parametrize(
    "keys", [[], ["short"], [base64.urlsafe_b64encode(b"x" * 31).decode()], ["é" * 44], [key(), ""]]
)
def test_a_wrong_key_is_refused_without_being_shown(keys: list[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        keyring(keys)
    assert "RECADO_SECRET_KEYS" in str(refused.value)
    assert all(not text or text not in str(refused.value) for text in keys)


def test_a_process_that_meets_nothing_new_seals_with_the_new_key_soon_after_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old = key()
    file.write_text(old + "\n")
    running = load_keyring(Settings(secret_keys=f"file:{file}", _env_file=None))
    before = running.seal("token", owner_id=OWNER, row="a")
    add_key(file)
    new = file.read_text().split()[0]
    time.sleep(LOOK_S + 0.05)
    sealed = running.seal("token", owner_id=OWNER, row="a")
    assert keyring([new]).open(sealed, owner_id=OWNER, row="a") == "token"
    assert running.open(before, owner_id=OWNER, row="a") == "token"
    # Half a file, or none, changes nothing; the old key's going away is no reason to use it again.
    for broken in ("", "short\n", None):
        file.unlink(missing_ok=True)
        if broken is not None:
            file.write_text(broken)
        time.sleep(LOOK_S + 0.05)
        sealed = running.seal("token", owner_id=OWNER, row="a")
        assert keyring([new]).open(sealed, owner_id=OWNER, row="a") == "token"
    file.write_text(f"{new}\n")
    time.sleep(LOOK_S + 0.05)
    assert running.seal("token", owner_id=OWNER, row="a")[1:5].hex() == keyring([new]).ids[0]
    assert running.open(before, owner_id=OWNER, row="a") == "token"


def test_looking_for_a_new_key_costs_the_loop_nothing_between_looks(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(key() + "\n")
    running = load_keyring(Settings(secret_keys=f"file:{file}", _env_file=None))
    first = running.seal("token", owner_id=OWNER, row="a")
    add_key(file)
    # Within the second it is not looked at again.
    assert running.seal("token", owner_id=OWNER, row="a")[1:5] == first[1:5]


def test_neither_keys_nor_secrets_are_in_a_keyrings_repr() -> None:
    text = key()
    assert text not in repr(keyring([text]))
    assert "AESGCM" not in repr(keyring([text]))


def test_an_external_database_needs_keys_that_every_process_has(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url="postgresql://db/recado", _env_file=None)
    with pytest.raises(SettingsError, match="RECADO_SECRET_KEYS"):
        load_keyring(settings)
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_database_makes_its_key_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", _env_file=None)
    with capture_logs() as lines, ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: load_keyring(settings), range(8)))
    sealed = rings[0].seal("token", owner_id=OWNER, row="a")
    assert {ring.open(sealed, owner_id=OWNER, row="a") for ring in [*rings, load_keyring(settings)]} == {"token"}
    (file,) = (tmp_path / "home").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in str(lines)
