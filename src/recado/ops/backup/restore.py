"""Putting a set back: into a home that is empty, or into an external database that its own backup has put back.

Everything is checked before anything is touched. A home says by a file of its own that a restore is at work in it, and
nothing starts from it until that is gone; so one that was cut short is never taken for a whole one, and is begun again
by the same command. What was there before is moved aside, never deleted. A restored database sends nothing to anybody
until Twilio's list has said what went out since (`release`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from recado.db import basebackup
from recado.db.cluster import Cluster
from recado.db.pool import Connection
from recado.db.schema import HEAD
from recado.errors import Conflict, RecadoError, UsageError
from recado.identity import audit
from recado.identity.callers import Caller
from recado.media.storage import Storage, is_key
from recado.ops.backup import sets
from recado.ops.backup.sets import Manifest

#: Twilio is asked for what it has from so long before the moment on: clocks differ, and what was sent then may not
#: have been committed here.
BEFORE = timedelta(minutes=15)
#: What the mark of a restore at work says once everything in the home is of the restore, and nothing of before.
_OURS = "the data here is of a restore that has not ended\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What there is now: the moment that it is of, what it holds, and for how many Twilio accounts it keeps silent.

    `erased` are people who were erased after that moment, and are being erased again.
    """

    moment: datetime
    counts: dict[str, int]
    quarantined: int
    sessions: int
    attachments: int
    erased: int


def moment_of(text: str) -> datetime:
    """A moment with its time zone, as `2026-11-28T14:05:00Z`. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text}: no moment; write it as 2026-11-28T14:05:00Z") from None
    if moment.tzinfo is None:
        raise UsageError(f"{text}: of which time zone? Write it as {text.strip()}Z, or with +HH:MM")
    return moment.astimezone(UTC)


def must_reach(folder: Path, manifest: Manifest, to: datetime | None, *, external: bool) -> None:
    """Raise UsageError, before anything is read or touched, unless this set can be put back there, to that moment."""
    if int(manifest.schema) > int(HEAD):
        raise UsageError(
            f"{folder}: made by recado {manifest.recado} with schema {manifest.schema}, newer than this one's {HEAD}: "
            "install that version"
        )
    if external != (manifest.database.kind == "external"):
        raise UsageError(
            f"{folder}: of an external database: put that back first, and set RECADO_DATABASE_URL"
            if not external
            else f"{folder}: of an embedded database: unset RECADO_DATABASE_URL, or move it with pg_dump afterwards"
        )
    if to is None or external:
        return
    if not (folder / "wal").is_dir():
        raise UsageError(
            f"{folder}: holds one moment only, {manifest.consistent_at:%Y-%m-%dT%H:%M:%SZ}: --to needs a "
            "set that was kept up with --follow"
        )
    if to < manifest.consistent_at:
        raise UsageError(f"{folder}: can be put back to {manifest.consistent_at.isoformat()} at the earliest")


def put_database(
    home: Path, folder: Path, manifest: Manifest, *, to: datetime | None, replace: bool, logins: tuple[str, ...]
) -> datetime:
    """Put the set's database into the home; answers the moment that it is of. `Cluster.unfinished` stays.

    Raises Conflict when recado runs there; UsageError when the home is not empty and nobody said `replace`.
    """
    with basebackup.alone(home) as cluster:
        _make_room(cluster, replace=replace)
        try:
            recovered = basebackup.lay_out(cluster, folder / "database", folder / "wal", to=to, logins=logins)
        except OSError as error:
            raise RecadoError(f"{cluster.home}: {error.strerror}") from None
    if to is not None:
        return to
    # What was not followed ends somewhere while it was copied; its last transaction may be long before.
    return (recovered.at if (folder / "wal").is_dir() else None) or manifest.started_at


def _make_room(cluster: Cluster, *, replace: bool) -> None:
    if cluster.unfinished.exists() and cluster.unfinished.read_text() == _OURS:
        # What a restore that was cut short has put there.
        shutil.rmtree(cluster.data, ignore_errors=True)
        return
    # Attachments stay: each has a name of its own, and the ledger of erasures lies with them.
    there = [path for path in (cluster.data, cluster.passwords) if path.exists()]
    if there and not (replace or cluster.unfinished.exists()):
        raise UsageError(f"{cluster.home}: recado's data is there already; --replace moves it aside")
    # From here on nothing starts from this home before the restore has ended.
    cluster.unfinished.touch(mode=0o600)
    sets.sync(cluster.home)
    aside = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for path in there:
        path.rename(path.with_name(f"{path.name}.before-{aside}"))
    cluster.unfinished.write_text(_OURS)
    sets.sync(cluster.home)


def finish(home: Path) -> None:
    """The home may be used."""
    cluster = Cluster(home=home.resolve())
    cluster.unfinished.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        sets.sync(cluster.home)


async def put_media(platform: Connection, storage: Storage, folder: Path, *, said: Callable[[], None]) -> int:
    """Keep the set's attachments again, but for those that no row names; answers how many."""
    rows = await (
        await platform.execute(
            "SELECT storage_key, content_type FROM media WHERE status = 'stored' AND storage_key IS NOT NULL"
        )
    ).fetchall()
    types = {row["storage_key"]: row["content_type"] or "application/octet-stream" for row in rows}
    count = 0
    for key, _ in sets.listed(folder):
        if key in types:
            await storage.put(key, folder / "media" / key, content_type=types[key])
            count += 1
            said()
    return count


async def put_ledger(storage: Storage, folder: Path) -> None:
    """Have the storage know of every erasure that the set knows of; what it has of its own stays."""
    came = [*(folder / "media" / sets.LEDGER.rstrip("/")).glob("*"), *(folder / sets.ERASURES).glob("*")]
    for path in came:
        if is_key(key := f"{sets.LEDGER}{path.name}"):
            await storage.put(key, path, content_type="application/json")


_ALIVE = """
SELECT count(*) AS n FROM executors e
WHERE EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND (l.classid::bigint << 32 | l.objid::bigint) = e.lock_key)
"""
# Whoever was signed out since the moment would be signed in again; what was accepted since would be open again.
_SIGN_OUT = "UPDATE sessions SET revoked_at = clock_timestamp() WHERE revoked_at IS NULL"
_CLOSE = "UPDATE invitations SET revoked_at = clock_timestamp() WHERE accepted_at IS NULL AND revoked_at IS NULL"
_QUARANTINE = """
WITH restore AS (
    INSERT INTO restores (id, set_id, moment) VALUES (%(id)s, %(set)s, %(moment)s) RETURNING restored_at
)
INSERT INTO quarantine (owner_id, account_id, restored_at, since)
SELECT owner_id, id, restored_at, %(since)s FROM restore CROSS JOIN twilio_accounts WHERE removed_at IS NULL
"""
_COUNT = """
SELECT (SELECT count(*) FROM owners) AS owners, (SELECT count(*) FROM conversations) AS conversations,
       (SELECT count(*) FROM messages) AS messages, (SELECT count(*) FROM media) AS media
"""


async def must_stand_still(platform: Connection) -> None:
    """Raise Conflict when a worker works on this database."""
    row = await (await platform.execute(_ALIVE)).fetchone()
    if row is not None and row["n"]:
        raise Conflict(f"{row['n']} worker processes work on this database: stop every process of recado first")


async def settle(platform: Connection, manifest: Manifest, moment: datetime, *, caller: Caller) -> Restored:
    """Have the restored database know of itself: silent for every Twilio account, with nobody signed in.

    One transaction. Of a database restored again before it was released the older moment counts.
    """
    async with platform.transaction():
        told = {"id": uuid4(), "set": manifest.set, "moment": moment, "since": moment - BEFORE}
        silent = await platform.execute(_QUARANTINE, told)
        sessions = await platform.execute(_SIGN_OUT)
        await platform.execute(_CLOSE)
        row = await (await platform.execute(_COUNT)).fetchone()
        data = {"set": str(manifest.set), "moment": moment.isoformat()}
        await audit.record(platform, caller, "restore", "database", None, data)
    return Restored(
        moment=moment,
        counts=dict(row or {}),
        quarantined=silent.rowcount,
        sessions=sessions.rowcount,
        attachments=0,
        erased=0,
    )


async def missing_media(platform: Connection, storage: Storage) -> int:
    """How many attachments of the database the storage does not have."""
    there = {key async for key in storage.keys(before=datetime.max.replace(tzinfo=UTC))}
    rows = await (
        await platform.execute("SELECT storage_key FROM media WHERE status = 'stored' AND storage_key IS NOT NULL")
    ).fetchall()
    return sum(row["storage_key"] not in there for row in rows)
