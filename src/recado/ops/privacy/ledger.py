"""The ledger of erasures, kept where a restore of the database does not turn it back: beside the attachments.

An entry says that whoever these keyed hashes are of was erased, when, and whether they had opted out: nobody can tell
from it who they are. It carries the owner's key of the hashes, sealed, for a database from before their first erasure.
After a backup was restored, `replay` erases again whom it has brought back.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID

import structlog

from recado.conversations import erased, erasures
from recado.db.pool import Pool
from recado.db.scope import Scope, scoped
from recado.db.secrets import Keyring
from recado.errors import NotFound, SecretError
from recado.media.storage import Storage, is_key, key_of
from recado.ops.privacy.running import Taken, held

log = structlog.get_logger(__name__)

#: No owner's id: under it nothing is an attachment, and no sweep deletes it.
_NOBODY: Final = UUID(int=0)
_PREFIX: Final = f"{_NOBODY}/"
_FORM: Final = 1
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Contacts whose hashes are compared before the next are read.
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One erasure, as the ledger has it."""

    owner_id: UUID
    erasure_id: UUID
    at: datetime
    sealed_key: bytes = field(repr=False)
    hashes: frozenset[bytes] = field(repr=False)
    suppressed_why: str | None


async def keep(storage: Storage, platform: Pool, erasure: Taken) -> None:
    """Write the erasure into the ledger; again it is the same entry. Raises StorageUnavailable."""
    async with platform.connection() as conn:
        cursor = await conn.execute(
            "SELECT sealed FROM erasure_keys WHERE owner_id = %s AND id = %s", [erasure.owner_id, erasure.owner_id]
        )
        key = await cursor.fetchone()
    assert key is not None  # noqa: S101 - the request has made it
    written = {
        "form": _FORM,
        "owner_id": str(erasure.owner_id),
        "erasure_id": str(erasure.id),
        "at": erasure.requested_at.isoformat(),
        "key": b64encode(key["sealed"]).decode(),
        "hashes": [one.hex() for one in erasure.identity_hashes],
        "suppressed_why": erasure.suppressed_why,
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "entry"
        path.write_text(json.dumps(written))
        async with held(platform, erasure):
            await storage.put(key_of(_NOBODY, erasure.id), path, content_type="application/json")


async def entries(storage: Storage) -> AsyncIterator[Entry]:
    """Every entry of the ledger, in no order. Raises StorageUnavailable; ValueError for what is no entry."""
    async for key in storage.keys(before=datetime.now(UTC) + timedelta(days=1)):
        if is_key(key) and key.startswith(_PREFIX):
            text = b"".join([piece async for piece in storage.read(key)])
            yield _entry(json.loads(text))


def _entry(given: dict[str, Any]) -> Entry:
    if given.get("form") != _FORM:
        raise ValueError("an entry of the ledger of erasures that this recado can't read")
    return Entry(
        owner_id=UUID(given["owner_id"]),
        erasure_id=UUID(given["erasure_id"]),
        at=datetime.fromisoformat(given["at"]),
        sealed_key=b64decode(given["key"]),
        hashes=frozenset(map(bytes.fromhex, given["hashes"])),
        suppressed_why=given["suppressed_why"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay did: entries, people who were there again and are erased, and entries that no present key opens."""

    entries: int
    people: int
    unreadable: int


async def replay(pool: Pool, storage: Storage, keyring: Keyring) -> Replayed:
    """Have erased again whom a restored database has brought back; to be called before anything is sent or answered.

    Their opt-outs are put back where they came after the backup. An erasure that the database knows of is left to
    itself: it goes on where it was. Who has come back after their erasure is somebody new, and stays. Idempotent.
    Raises StorageUnavailable.
    """
    owned: dict[UUID, list[Entry]] = {}
    count = 0
    async for entry in entries(storage):
        count += 1
        owned.setdefault(entry.owner_id, []).append(entry)
    people = unreadable = 0
    for owner_id, theirs in owned.items():
        async with scoped(pool, owner_id) as scope:
            missing = await _missing(scope, theirs)
        try:
            people += await _erase_again(pool, keyring, owner_id, missing)
        except SecretError:
            unreadable += len(missing)
    log.info("ledger_replayed", task="erase", count=count, people=people, unreadable=unreadable)
    return Replayed(entries=count, people=people, unreadable=unreadable)


async def _missing(scope: Scope, theirs: list[Entry]) -> list[Entry]:
    """Those that the database knows nothing of; none of an owner whom it does not know."""
    cursor = await scope.conn.execute("SELECT FROM owners WHERE id = %s", [scope.owner_id])
    if await cursor.fetchone() is None:
        return []
    cursor = await scope.conn.execute("SELECT id FROM erasures WHERE owner_id = %s", [scope.owner_id])
    known = {row["id"] for row in await cursor.fetchall()}
    return [entry for entry in theirs if entry.erasure_id not in known]


async def _erase_again(pool: Pool, keyring: Keyring, owner_id: UUID, theirs: list[Entry]) -> int:
    """Have those erased whose hashes these entries have; how many people. All of an owner's contacts are looked at.

    Raises SecretError when no present key opens the owner's key.
    """
    if not theirs:
        return 0
    async with scoped(pool, owner_id) as scope:
        # The database's is sealed again when the keys change, the ledger's is there before its first erasure.
        key = await erased.key_of(scope, keyring) or erased.opened(keyring, owner_id, theirs[0].sealed_key)
        await erased.put_key(scope, theirs[0].sealed_key)
        for entry in theirs:
            if entry.suppressed_why is not None:
                await erased.keep(scope, entry.hashes, reason=entry.suppressed_why)
    erased_at: dict[bytes, datetime] = {}
    for entry in theirs:
        for one in entry.hashes:
            erased_at[one] = max(entry.at, erased_at.get(one, entry.at))
    people, after = 0, UUID(int=0)
    while True:
        async with scoped(pool, owner_id) as scope:
            cursor = await scope.conn.execute(
                "SELECT id, identity_key, external_id, created_at FROM contacts "
                "WHERE owner_id = %s AND id > %s AND erasure_id IS NULL ORDER BY id LIMIT %s",
                [owner_id, after, _BATCH],
            )
            rows = await cursor.fetchall()
        for row in rows:
            known = (erased.digest(key, one) for one in (row["identity_key"], row["external_id"]) if one)
            # Who has come back since is somebody new.
            if any(erased_at.get(one, _LONG_AGO) >= row["created_at"] for one in known):
                people += await _request(pool, keyring, owner_id, row["id"])
        if len(rows) < _BATCH:
            return people
        after = rows[-1]["id"]


async def _request(pool: Pool, keyring: Keyring, owner_id: UUID, contact_id: UUID) -> bool:
    async with scoped(pool, owner_id) as scope:
        try:
            _, new = await erasures.request(scope, keyring, contact_id, now=datetime.now(UTC), replayed=True)
        except NotFound:  # erased with somebody who is the same person
            return False
        return new
