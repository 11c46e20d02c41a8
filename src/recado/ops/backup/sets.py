"""A set: what `recado backup` makes and `recado restore` reads.

    DIR/manifest.json   what it is; written last: a folder without it is no set
    DIR/database/       the server as `pg_basebackup` copied it (embedded database only)
    DIR/wal/            its log since then, where the set is followed
    DIR/media/          attachments, under their keys
    DIR/media.sha256    their hashes, as `sha256sum -c` reads them
    DIR/erasures/       who was erased since, by keyed hashes alone, where the set is followed

The manifest is sealed with the first key: who has the keys sees that it is one of theirs, and that it is unchanged. It
names keys by their fingerprints and holds none. The hashes that it holds cover everything but `wal/`, which grows.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from typing import Any, Literal
from uuid import UUID

from recado.db import basebackup
from recado.db.basebackup import Damaged
from recado.db.secrets import Keyring
from recado.errors import RecadoError, SecretError, UsageError
from recado.media.storage import is_key

#: The form of sets that this version makes and reads.
FORMAT = 1
NAME = "manifest.json"
UNFINISHED = ".unfinished-"
#: Under no owner's id the ledger of erasures lies with the attachments (`ops/privacy`); in a followed set what came
#: after it was made is in a folder of its own.
LEDGER, ERASURES = f"{UUID(int=0)}/", "erasures"

Kept = Literal["copied", "listed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """The attachments: `copied` into the set, or `listed` because they are in a bucket; `missing` are rows without."""

    kept: Kept
    files: int
    bytes: int
    missing: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """The database: copied (`embedded`), or somewhere else, where its own backup is (`external`)."""

    kind: Literal["embedded", "external"]
    postgres: int
    files: int
    bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a set is. What was committed before `started_at` is in it, what was after `consistent_at` is not.

    Times are by the database's clock. `needed` are the fingerprints of keys without which secrets in it stay closed.
    """

    set: UUID
    recado: str
    schema: str
    started_at: datetime
    consistent_at: datetime
    database: Database
    media: Media
    needed: tuple[str, ...]
    counts: Mapping[str, int]


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A folder beside that one, which becomes it when this ends well and is gone otherwise; for this user alone.

    Raises UsageError when there is something already.
    """
    folder = folder.absolute()
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder}: there is something already; a set is never overwritten")
    if not folder.parent.is_dir():
        raise UsageError(f"{folder.parent}: there is no such folder")
    draft = folder.with_name(f"{folder.name}{UNFINISHED}{token_hex(4)}")
    try:
        draft.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(f"{folder.parent}: {error.strerror}") from None
    try:
        yield draft
        draft.rename(folder)  # what somebody else has made there meanwhile is not empty, and stays
        sync(folder.parent)
    except BaseException:
        rmtree(draft, ignore_errors=True)
        raise


def left_behind(folder: Path) -> list[Path]:
    """What is left of sets that were cut short where this one is to be."""
    return sorted(folder.absolute().parent.glob(f"*{UNFINISHED}*"))


def write(folder: Path, manifest: Manifest, keyring: Keyring) -> None:
    """Write the manifest, sealed, and keep it and the set's folders on the disk."""
    body = {"format": FORMAT, **asdict(manifest)}
    text = json.dumps(body, indent=1, default=_plain)
    digest = hashlib.sha256(text.encode()).hexdigest()
    seal = base64.b64encode(keyring.seal(digest, owner_id=None, row=_row(manifest.set))).decode()
    path = folder / NAME
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps({"manifest": text, "seal": seal}, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync(folder)


def read(folder: Path, keyring: Keyring | None) -> Manifest:
    """The set's manifest. Raises UsageError for what is no set, or of a later form; Damaged for what was changed.

    With keys it must be sealed with one of them.
    """
    try:
        outer = json.loads((folder / NAME).read_text())
        text, seal = str(outer["manifest"]), base64.b64decode(outer["seal"])
        body = json.loads(text)
    except FileNotFoundError:
        raise UsageError(f"{folder}: no set: there is no {NAME} (a backup that was cut short has none)") from None
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise Damaged(f"{folder / NAME} can't be read") from None
    try:
        if body["format"] != FORMAT:
            raise UsageError(f"{folder}: made by recado {body['recado']}, in a form that this one does not read")
        manifest = _read(body)
    except (ValueError, KeyError, TypeError):
        raise Damaged(f"{folder / NAME} can't be read") from None
    if keyring is not None:
        try:
            sealed = keyring.open(seal, owner_id=None, row=_row(manifest.set))
        except SecretError:
            raise Damaged(f"{folder / NAME} was not sealed with a key of RECADO_SECRET_KEYS, or was changed") from None
        if sealed != hashlib.sha256(text.encode()).hexdigest():
            raise Damaged(f"{folder / NAME} was changed")
    return manifest


def check(folder: Path, manifest: Manifest, *, database: bool = True) -> None:
    """Raise Damaged unless everything that the manifest answers for is there, unchanged."""
    if database and manifest.database.kind == "embedded":
        copy = folder / "database"
        if basebackup.digest_of(copy / basebackup.MANIFEST) != manifest.database.sha256:
            raise Damaged(f"{copy / basebackup.MANIFEST} is not the set's")
        basebackup.check(copy)
    listing = folder / "media.sha256"
    if not listing.exists() or basebackup.digest_of(listing) != manifest.media.sha256:
        raise Damaged(f"{listing} is missing, or not the set's")
    if manifest.media.kept == "copied":
        for key, digest in listed(folder):
            path = folder / "media" / key
            if not path.is_file() or basebackup.digest_of(path) != digest:
                raise Damaged(f"{path} is missing, or not what was copied")


def listed(folder: Path) -> Iterator[tuple[str, str]]:
    """The attachments' keys and hashes; of one that no hash is known of it is empty. Raises Damaged."""
    with (folder / "media.sha256").open() as file:
        for line in file:
            digest, _, name = line.rstrip("\n").partition("  ")
            key = name.removeprefix("media/")
            if not is_key(key):
                raise Damaged(f"{folder / 'media.sha256'} can't be read")
            yield key, digest.strip("-")


def must_fit(manifest: Manifest, keyring: Keyring) -> None:
    """Raise RecadoError when secrets of the set need a key that is not there."""
    if missing := sorted(set(manifest.needed) - set(keyring.ids)):
        raise RecadoError(
            f"the set's secrets need the key {', '.join(missing)}, and there is {', '.join(keyring.ids)}: "
            "put it there first, or give --without-keys and the tokens anew"
        )


def sync(folder: Path) -> None:
    """Keep a folder's entries on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _row(set_id: UUID) -> str:
    return f"backup/{set_id}"


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _read(body: Mapping[str, Any]) -> Manifest:
    given = {field.name: body[field.name] for field in fields(Manifest)}
    given |= {
        "set": UUID(given["set"]),
        "started_at": datetime.fromisoformat(given["started_at"]),
        "consistent_at": datetime.fromisoformat(given["consistent_at"]),
        "database": Database(**given["database"]),
        "media": Media(**given["media"]),
        "needed": tuple(given["needed"]),
        "counts": {str(name): int(number) for name, number in given["counts"].items()},
    }
    return Manifest(**given)
