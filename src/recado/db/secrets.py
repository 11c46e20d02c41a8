"""Secrets at rest: AES-256-GCM, bound to the row they belong to, under keys that can be changed without stopping.

A ciphertext is `version (1) | key id (4) | nonce (12) | ciphertext and tag`. The associated data names owner and row,
so a ciphertext that is copied to another row does not open, nor to another owner's row of the same id. Which columns
hold such secrets stands in `SEALED`.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recado.errors import SecretError, SettingsError
from recado.settings import Settings

log = structlog.get_logger(__name__)

#: Every column that holds a sealed secret, by table; all these tables have `owner_id` and `id`.
SEALED = {
    "twilio_accounts": ("auth_token", "secondary_token", "api_key_secret"),
    "idempotency_keys": ("answer",),
    "erasure_keys": ("sealed",),
    "webhooks": ("secret", "previous_secret"),
}

_VERSION = b"\x02"
_KEY_FILE = "secret.keys"
_FILE = "file:"

#: A process that seals looks so often whether its key file has changed.
LOOK_S = 1.0

Keys = dict[bytes, AESGCM]


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by id; the first encrypts, all decrypt. Those of a file follow it: what is put first there encrypts soon."""

    _keys: Keys = field(repr=False)
    _file: KeyFile | None = field(default=None, repr=False)

    @property
    def ids(self) -> list[str]:
        """The keys' ids, the one that encrypts first. An id tells nothing of its key."""
        return [key_id.hex() for key_id in self._keys]

    @property
    def head(self) -> bytes:
        """What everything that is sealed now begins with."""
        return _VERSION + next(iter(self._keys))

    def seal(self, secret: str, *, owner_id: UUID | None, row: str) -> bytes:
        """Encrypt `secret` for the row of that owner, for instance `twilio_accounts/ID/auth_token`.

        Without an owner it is for no row of a table: the text of a link, for instance, which says itself whose it is.
        """
        # After a leak nothing more may be sealed with the old key, whatever this process meets.
        self._take(None if self._file is None else self._file.news())
        key_id, key = next(iter(self._keys.items()))
        nonce = os.urandom(12)
        return _VERSION + key_id + nonce + key.encrypt(nonce, secret.encode(), _bound(owner_id, row))

    def open(self, sealed: bytes, *, owner_id: UUID | None, row: str) -> str:
        """Decrypt what `seal` made for the same row of the same owner. Raises SecretError otherwise."""
        key = self._keys.get(sealed[1:5]) or self._added(sealed[1:5])
        if sealed[:1] != _VERSION or key is None:
            raise SecretError("a stored secret was encrypted with a key that is not in RECADO_SECRET_KEYS")
        try:
            return key.decrypt(sealed[5:17], sealed[17:], _bound(owner_id, row)).decode()
        except (InvalidTag, ValueError):
            raise SecretError("a stored secret is damaged or does not belong to the row it stands in") from None

    def _added(self, key_id: bytes) -> AESGCM | None:
        """The key of that id, if it has come into the key file since this process read it."""
        self._take(None if self._file is None else self._file.read())
        return self._keys.get(key_id)

    def _take(self, now: Keys | None) -> None:
        """The keys in the file's order; what was known before goes on opening what it sealed."""
        if now is None or list(now) == list(self._keys)[: len(now)]:
            return
        before = dict(self._keys)
        self._keys.clear()
        self._keys.update(now | {known: key for known, key in before.items() if known not in now})


@dataclass(slots=True)
class KeyFile:
    """The file of the keys, and what it looked like when it was last read."""

    path: Path
    _read: tuple[int, int] | None = None
    _looked_at: float = -math.inf

    def keys(self) -> Keys:
        """The keys in it. Raises OSError, UnicodeDecodeError, SettingsError."""
        # Before it is read: what is changed meanwhile is read again.
        self._read = self._looks()
        return _ring(_in_file(self.path))

    def read(self) -> Keys | None:
        """The keys in it, or None when it can't be read now, half written for instance."""
        try:
            return self.keys()
        except (OSError, ValueError, SettingsError):
            self._read = None
            return None

    def news(self) -> Keys | None:
        """The keys in it when it was changed since it was read, None otherwise; looks once a second at most."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return None
        self._looked_at = time.monotonic()
        try:
            return self.read() if self._looks() != self._read else None
        except OSError:
            return None

    def _looks(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_mtime_ns, found.st_ino


def _bound(owner_id: UUID | None, row: str) -> bytes:
    return f"2/{owner_id or ''}/{row}".encode()


def key_id(sealed: bytes) -> str:
    """The id of the key that a secret was sealed with."""
    return sealed[1:5].hex()


def new_key() -> str:
    """A new key as it stands in RECADO_SECRET_KEYS."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def keyring(keys: list[str]) -> Keyring:
    """A keyring of URL-safe base64 keys of 32 bytes. Raises SettingsError without showing them."""
    return Keyring(_ring(keys))


def _ring(keys: list[str]) -> Keys:
    ring: Keys = {}
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
    return ring


def _in_file(path: Path) -> list[str]:
    return path.read_text().replace(",", " ").split()


def load_keyring(settings: Settings) -> Keyring:
    """The keys of RECADO_SECRET_KEYS, or those in RECADO_HOME, made there once for the embedded database.

    Raises SettingsError when an external database is used without keys: a key that only one machine has would make
    what the others store unreadable.
    """
    path = key_file(settings)
    if path is None:
        assert settings.secret_keys is not None  # noqa: S101 - else there is a file
        return keyring([key.strip() for key in settings.secret_keys.get_secret_value().split(",") if key.strip()])
    if settings.secret_keys is None and not path.exists():
        if settings.database_url is not None:
            raise SettingsError(
                "RECADO_SECRET_KEYS is not set: with RECADO_DATABASE_URL it must be the same for every process; make a "
                "key with: python3 -c 'import base64,os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
            )
        _make_key_file(path)
    try:
        file = KeyFile(path)
        return Keyring(file.keys(), file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"RECADO_SECRET_KEYS: {path}: {reason}") from None


def key_file(settings: Settings) -> Path | None:
    """The file that the keys are read from; None when they stand in RECADO_SECRET_KEYS itself."""
    if settings.secret_keys is None:
        return settings.home / _KEY_FILE
    value = settings.secret_keys.get_secret_value().strip()
    return Path(value.removeprefix(_FILE)) if value.startswith(_FILE) else None


def add_key(path: Path) -> None:
    """Put a new key first into the key file. Processes that read the same file encrypt with it after `LOOK_S`."""
    # Through a draft: whoever reads meanwhile finds the old file or the new one, whole.
    draft = _draft(path, "\n".join([new_key(), *_in_file(path)]) + "\n")
    draft.replace(path)


def _draft(path: Path, text: str) -> Path:
    # Random, not the process id: containers that share the folder may all be process 1.
    draft = path.with_suffix(f".{token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _make_key_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path, new_key() + "\n")
    try:
        os.link(draft, path)  # fails when another process was first: its key is the one
        log.warning("secret_key_made", file=str(path), note="back it up: without it the stored secrets can't be read")
    except FileExistsError:
        pass
    finally:
        draft.unlink()
