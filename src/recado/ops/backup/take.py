"""Making a set: the database first, the attachments after it, so that no row of the set is without its file."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from recado import __version__
from recado.db import basebackup
from recado.db.embedded import Lease
from recado.db.pool import Connection, Row
from recado.db.schema import HEAD
from recado.db.secrets import Keyring
from recado.errors import Conflict, NotFound, RecadoError, UsageError
from recado.media.storage import Storage, is_key, new_file
from recado.ops.backup import keys, sets
from recado.ops.backup.sets import Database, Kept, Manifest, Media

_COUNTED = ("owners", "conversations", "messages", "media")
_SLOT = "recado_"
#: What is asked of the disk beyond the database's own size: the log of the time that copying takes.
_SPARE_BYTES = 256 * 1024 * 1024
_LOOK_S, _AGAIN_S = 0.2, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a set is made of. `lease` is the embedded server's; None where the database is elsewhere."""

    platform: Connection
    keyring: Keyring
    storage: Storage
    lease: Lease | None
    kept: Kept


async def make(source: Source, folder: Path, *, followed: bool, say: Callable[[str], None]) -> Manifest:
    """Make the set in a new folder, checked, whole or not at all; everything works on meanwhile.

    Raises UsageError when there is something at that place; RecadoError when it can't be made.
    """
    if followed and source.lease is None:
        raise UsageError("--follow is for the embedded database: archive an external one's log with its own tools")
    with sets.making(folder) as draft:
        set_id = uuid4()
        counts = await _counts(source.platform)
        started_at = await _now(source.platform)
        say("copying the database" if source.lease else "the database is external: its own backup has it")
        if source.lease is None:
            row = await _row(source.platform, "SELECT current_setting('server_version_num')::int / 10000 AS version")
            database = Database(kind="external", postgres=row["version"], files=0, bytes=0, sha256=None)
        else:
            slot = slot_of(set_id) if followed else None
            database = await asyncio.to_thread(_copy_database, source.lease, draft, slot=slot)
        consistent_at = await _now(source.platform)
        say("copying attachments" if source.kept == "copied" else "listing attachments")
        media = await _keep_media(source, draft)
        manifest = Manifest(
            set=set_id,
            recado=__version__,
            schema=HEAD,
            started_at=started_at,
            consistent_at=consistent_at,
            database=database,
            media=media,
            needed=tuple(sorted(await keys.needed(source.platform))),
            counts=counts,
        )
        sets.write(draft, manifest, source.keyring)
        say("checking")
        written = sets.read(draft, source.keyring)
        await asyncio.to_thread(sets.check, draft, written, database=False)  # which was checked when it was copied
    return manifest


def _copy_database(lease: Lease, draft: Path, *, slot: str | None) -> Database:
    copy = draft / "database"
    with psycopg.connect(lease.admin_url, autocommit=True) as conn:
        [size, version] = conn.execute(
            "SELECT sum(pg_database_size(oid))::bigint, current_setting('server_version_num')::int / 10000 "
            "FROM pg_database"
        ).fetchone() or (0, 0)
        free = shutil.disk_usage(draft).free
        if free < size + _SPARE_BYTES:
            raise RecadoError(f"{draft.parent} has {free:,} bytes free, and the database has {size:,}")
        if slot is not None:
            _drop_slots(conn)
    try:
        basebackup.take(lease, copy, slot=slot)
        files, size = basebackup.check(copy)
    except BaseException:
        if slot is not None:
            with psycopg.connect(lease.admin_url, autocommit=True) as conn:
                _drop_slots(conn, slot)
        raise
    digest = basebackup.digest_of(copy / basebackup.MANIFEST)
    return Database(kind="embedded", postgres=version, files=files, bytes=size, sha256=digest)


def _drop_slots(conn: psycopg.Connection, only: str | None = None) -> None:
    """Let go of the log for sets that nobody follows now: there is a new one."""
    conn.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
        "WHERE NOT active AND starts_with(slot_name, %s)",
        [only or _SLOT],
    )


async def _keep_media(source: Source, draft: Path) -> Media:
    """Copy every attachment that is kept, or list them with the hashes that the database has.

    The ledger of erasures, which lies with them, is copied with them.
    """
    rows = await (
        await source.platform.execute(
            "SELECT storage_key, encode(sha256, 'hex') AS digest, size_bytes FROM media "
            "WHERE status = 'stored' AND storage_key IS NOT NULL ORDER BY storage_key"
        )
    ).fetchall()
    there = {key async for key in source.storage.keys(before=datetime.max.replace(tzinfo=UTC)) if is_key(key)}
    wanted = {row["storage_key"]: (row["digest"] or "-", row["size_bytes"] or 0) for row in rows}
    missing = len(wanted.keys() - there)
    wanted = {key: told for key, told in wanted.items() if key in there}
    wanted |= {key: ("-", 0) for key in sorted(there) if key.startswith(sets.LEDGER)}
    folder, listing = draft / "media", draft / "media.sha256"
    folder.mkdir(mode=0o700)
    files = size = 0
    with os.fdopen(os.open(listing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        for key, (digest, length) in wanted.items():
            if source.kept == "copied":
                try:
                    digest, length = await _copy(source.storage, key, folder)
                except NotFound:  # deleted meanwhile, as are those whose time is over
                    missing += 1
                    continue
            file.write(f"{digest}  media/{key}\n")
            files, size = files + 1, size + length
        file.flush()
        os.fsync(file.fileno())
    return Media(kept=source.kept, files=files, bytes=size, missing=missing, sha256=basebackup.digest_of(listing))


async def _copy(storage: Storage, key: str, folder: Path) -> tuple[str, int]:
    place = folder / key
    place.parent.mkdir(mode=0o700, exist_ok=True)
    await storage.fetch(key, place)
    return basebackup.digest_of(place), place.stat().st_size


async def _counts(platform: Connection) -> dict[str, int]:
    counts = {}
    for table in _COUNTED:
        query = sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(table))
        row = await (await platform.execute(query)).fetchone()
        counts[table] = int(row["n"]) if row else 0
    return counts


async def _now(platform: Connection) -> datetime:
    now: datetime = (await _row(platform, "SELECT clock_timestamp() AS now"))["now"]
    return now


async def _row(platform: Connection, query: str) -> Row:
    # The queries are constants of this module.
    row = await (await platform.execute(query)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM
    return row


def slot_of(set_id: UUID) -> str:
    """The replication slot that keeps the log for who follows the set."""
    return _SLOT + set_id.hex


def follow(lease: Lease, folder: Path, set_id: UUID, *, attachments: Path | None, stopped: Callable[[], bool]) -> None:
    """Write the server's log into the set as it comes, until `stopped`; what is in it then can be restored.

    With it goes the ledger of erasures, where `attachments` is the folder that it lies in. Goes on where it was. Raises
    RecadoError when a part of the log is gone: a new set is needed then.
    """
    slot = slot_of(set_id)
    while not stopped():
        _must_have_all(lease, slot)
        process = basebackup.follow(lease, folder / "wal", slot=slot)
        try:
            while process.poll() is None and not stopped():
                time.sleep(_LOOK_S)
                _keep_ledger(attachments, folder)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait()
        if not stopped():
            time.sleep(_AGAIN_S)  # the server was stopped, and comes back


def _keep_ledger(attachments: Path | None, folder: Path) -> None:
    """Copy what has come into the ledger; an entry never changes."""
    if attachments is None:
        return
    kept = folder / sets.ERASURES
    for entry in (attachments / sets.LEDGER.rstrip("/")).glob("*"):
        if is_key(f"{sets.LEDGER}{entry.name}") and not (kept / entry.name).exists():
            kept.mkdir(mode=0o700, exist_ok=True)
            draft = kept / f".{entry.name}"
            with new_file(draft) as file:
                file.write(entry.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            draft.rename(kept / entry.name)


def _must_have_all(lease: Lease, slot: str) -> None:
    try:
        with psycopg.connect(lease.admin_url, autocommit=True) as conn:
            row = conn.execute(
                "SELECT wal_status, active FROM pg_replication_slots WHERE slot_name = %s", [slot]
            ).fetchone()
    except psycopg.OperationalError:
        return  # away: looked at again
    if row is None or row[0] == "lost":
        raise RecadoError("the set can't be followed: the server no longer has the log that comes next; make a new one")
    if row[1]:
        raise Conflict("the set is followed already, by another process")
