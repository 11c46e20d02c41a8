"""Secrets at rest: AES-256-GCM, bound to the row they belong to, under keys that can be changed without stopping.

A ciphertext is `version (1) | key id (4) | nonce (12) | ciphertext and tag`. The associated data names the row, so
a ciphertext that is copied to another row does not open.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recado.errors import SecretError, SettingsError
from recado.settings import Settings

log = structlog.get_logger(__name__)

_VERSION = b"\x01"
_KEY_FILE = "secret.keys"


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by id; the first encrypts, all decrypt."""

    _keys: dict[bytes, AESGCM] = field(repr=False)

    def seal(self, secret: str, *, row: str) -> bytes:
        """Encrypt `secret` for the row that `row` names, for instance `twilio_accounts/ID/auth_token`."""
        key_id, key = next(iter(self._keys.items()))
        nonce = os.urandom(12)
        return _VERSION + key_id + nonce + key.encrypt(nonce, secret.encode(), row.encode())

    def open(self, sealed: bytes, *, row: str) -> str:
        """Decrypt what `seal` made for the same row. Raises SecretError otherwise."""
        key = self._keys.get(sealed[1:5])
        if sealed[:1] != _VERSION or key is None:
            raise SecretError("a stored secret was encrypted with a key that is not in RECADO_SECRET_KEYS")
        try:
            return key.decrypt(sealed[5:17], sealed[17:], row.encode()).decode()
        except (InvalidTag, ValueError):
            raise SecretError("a stored secret is damaged or does not belong to the row it stands in") from None


def keyring(keys: list[str]) -> Keyring:
    """A keyring of URL-safe base64 keys of 32 bytes. Raises SettingsError without showing them."""
    ring: dict[bytes, AESGCM] = {}
    for text in keys:
        try:
            raw = base64.urlsafe_b64decode(text)
        except ValueError:
            raw = b""
        if len(raw) != 32:
            raise SettingsError("RECADO_SECRET_KEYS: every key must be 32 bytes in URL-safe base64")
        ring[hashlib.sha256(b"recado key id" + raw).digest()[:4]] = AESGCM(raw)
    if not ring:
        raise SettingsError("RECADO_SECRET_KEYS: needs at least one key")
    return Keyring(ring)


def load_keyring(settings: Settings) -> Keyring:
    """The keys of RECADO_SECRET_KEYS, or those in RECADO_HOME, made there once for the embedded database.

    Raises SettingsError when an external database is used without keys: a key that only one machine has would make
    what the others store unreadable.
    """
    if settings.secret_keys is not None:
        return keyring([key.strip() for key in settings.secret_keys.get_secret_value().split(",") if key.strip()])
    path = settings.home / _KEY_FILE
    if not path.exists():
        if settings.database_url is not None:
            raise SettingsError(
                "RECADO_SECRET_KEYS is not set: with RECADO_DATABASE_URL it must be the same for every process; make a "
                "key with: python3 -c 'import base64,os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
            )
        _make_key_file(path)
    return keyring(path.read_text().split())


def _make_key_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Random, not the process id: containers that share the folder may all be process 1.
    draft = path.with_suffix(f".{token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(base64.urlsafe_b64encode(os.urandom(32)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # fails when another process was first: its key is the one
        log.warning("secret_key_made", file=str(path), note="back it up: without it the stored secrets can't be read")
    except FileExistsError:
        pass
    finally:
        draft.unlink()
