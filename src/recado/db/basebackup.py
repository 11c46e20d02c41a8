"""A copy of the embedded PostgreSQL while it runs, its log kept up to date, and a data directory made of both again.

By the wheel's own `pg_basebackup`, `pg_receivewal` and `pg_waldump`. What `pg_verifybackup` does is done here: the
wheel's crashes. The copy is checked against the manifest that PostgreSQL writes with it: every file, its size, its
hash, no file too many, and that the log which the copy needs can be read from end to end.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from recado.db import cluster as server
from recado.db.cluster import PORT, SUPERUSER, Cluster
from recado.db.embedded import Lease, locked, try_lock
from recado.errors import Conflict, RecadoError

MANIFEST = "backup_manifest"
#: What PostgreSQL leaves out of its manifest: the log, which is checked by itself, and the manifest.
_NOT_LISTED = ("pg_wal", MANIFEST)
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_PIECE = 1024 * 1024
#: Replaying the log of a week takes its time.
_RECOVERY_S = 86_400.0
_REACHED = re.compile(
    r"(?:last completed transaction was at log time|recovery stopping (?:before|after) \w+ of transaction \d+, time) "
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?)\+00"
)
_TOO_SHORT = "recovery ended before configured recovery target was reached"

# Before the next start writes the settings anew, these are gone.
_RECOVERY = """
restore_command = 'false'
recovery_target_action = 'promote'
hot_standby = off
"""


class Damaged(RecadoError):
    """A copy of a database is not what it was when it was made."""


def take(lease: Lease, into: Path, *, slot: str | None) -> None:
    """Copy the whole server into a new folder, while it works; what is committed when this returns may be missing.

    With `slot` the server keeps its log from here on until `follow` has had it. Raises RecadoError.
    """
    given = ("--create-slot", f"--slot={slot}") if slot else ()
    done = _client(
        lease,
        "pg_basebackup",
        *("-D", str(into), "-X", "stream", "-c", "fast", "--manifest-checksums=SHA256", *given),
    )
    if done is not None:
        raise RecadoError(f"PostgreSQL could not be copied: {done}")


def check(folder: Path) -> tuple[int, int]:
    """How many files the copy has, and bytes. Raises Damaged when anything of it is missing, changed or too much."""
    manifest = _manifest(folder)
    expected = {entry["Path"]: entry for entry in manifest["Files"]}
    there = set(_files(folder))
    if gone := sorted(set(expected) - there):
        raise Damaged(f"{folder / gone[0]} is missing ({len(gone)} files are)")
    if more := sorted(there - set(expected)):
        raise Damaged(f"{folder / more[0]} is no part of the copy ({len(more)} files are not)")
    size = 0
    for name, entry in expected.items():
        if (folder / name).stat().st_size != entry["Size"] or digest_of(folder / name) != entry["Checksum"]:
            raise Damaged(f"{folder / name} is not what was copied")
        size += entry["Size"]
    for each in manifest["WAL-Ranges"]:
        _check_log(folder / "pg_wal", each)
    return len(expected), size


def digest_of(path: Path) -> str:
    """The file's SHA-256, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        text = path.read_text()
        manifest: dict[str, Any] = json.loads(text)
        body = text.partition('"Manifest-Checksum"')[0]
        if hashlib.sha256(body.encode()).hexdigest() != manifest["Manifest-Checksum"]:
            raise Damaged(f"{path} is not what was written")
        names = [PurePosixPath(entry["Path"]) for entry in manifest["Files"]]
        if any(name.is_absolute() or ".." in name.parts for name in names):
            raise Damaged(f"{path} names files outside of the copy")
        if any(entry["Checksum-Algorithm"] != "SHA256" for entry in manifest["Files"]) or not manifest["WAL-Ranges"]:
            raise Damaged(f"{path} is of another kind than recado makes")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise Damaged(f"{path} can't be read: {type(error).__name__}") from None
    return manifest


def _files(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here == folder:
            folders[:] = [name for name in folders if name not in _NOT_LISTED]
            files = [name for name in files if name not in _NOT_LISTED]
        for name in files:
            yield (here / name).relative_to(folder).as_posix()


def _check_log(folder: Path, part: dict[str, Any]) -> None:
    timeline, first, last = int(part["Timeline"]), str(part["Start-LSN"]), str(part["End-LSN"])
    done = subprocess.run(  # noqa: S603 - the wheel's own program; the numbers are a manifest's, and arguments of their own
        [
            server.program("pg_waldump"),
            *("--quiet", f"--path={folder}", f"--timeline={timeline}", f"--start={first}", f"--end={last}"),
        ],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        check=False,
    )
    if done.returncode != 0:
        raise Damaged(f"the log of {folder} can't be read from {first} to {last}")


def follow(lease: Lease, into: Path, *, slot: str) -> subprocess.Popen[bytes]:
    """The process that writes the server's log into the folder as it comes, from where the slot or the folder is.

    It ends with SIGINT, and by itself when it can't go on.
    """
    into.mkdir(mode=0o700, exist_ok=True)
    return subprocess.Popen(  # noqa: S603 - the wheel's own program
        [server.program("pg_receivewal"), "-D", str(into), f"--slot={slot}", "--synchronous", "-n", *_place(lease)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(lease),
        umask=0o077,
        # A signal at the terminal is for the command: it ends this one.
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    """Have the kernel end this process when the command is killed: nobody else would."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def _client(lease: Lease, name: str, *arguments: str) -> str | None:
    """Run a client of the server's as this user; None when it went well, else the last of what it said."""
    done = subprocess.run(  # noqa: S603 - the wheel's own programs
        [server.program(name), *arguments, *_place(lease)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=_environment(lease),
        umask=0o077,
        check=False,
    )
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
    return (said or [f"{name} ended with {done.returncode}"])[-1][-500:]


def _place(lease: Lease) -> list[str]:
    return ["-h", str(lease.socket_dir), "-p", str(PORT), "-U", SUPERUSER, "-w"]


def _environment(lease: Lease) -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": lease.password(SUPERUSER)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a data directory was brought to; `at` is when the last transaction in it was committed, if any was."""

    at: datetime | None


@contextlib.contextmanager
def alone(home: Path) -> Iterator[Cluster]:
    """The home's cluster, while nobody uses it and nobody can begin to. Raises Conflict when somebody does."""
    cluster = server.open_home(home)
    with locked(cluster.start_lock):
        keeper = try_lock(cluster.keeper_lock)
        if keeper is None or server.postmaster(cluster) is not None:
            if keeper is not None:
                os.close(keeper)
            raise Conflict(f"recado runs in {cluster.home}: stop every process of it first")
        try:
            yield cluster
        finally:
            os.close(keeper)


def lay_out(
    cluster: Cluster, copy: Path, log: Path | None, *, to: datetime | None, logins: tuple[str, ...]
) -> Recovered:
    """Make the home's data directory of a copy and the log that came after it, up to a moment or to the log's end.

    The server is stopped again when this returns, and the logins have the home's passwords. Raises RecadoError when the
    log does not reach the moment. Under `alone`, with no data directory there.
    """
    passwords = {login: server.password(cluster, login) for login in (SUPERUSER, *logins)}
    shutil.copytree(copy, cluster.data, symlinks=True)
    # Where the server that was copied listened, and what went wrong there, is of no use here.
    for name in (MANIFEST, "log", "log.1", f".s.PGSQL.{PORT}.lock"):
        (cluster.data / name).unlink(missing_ok=True)
    for path in sorted(log.iterdir()) if log is not None and log.is_dir() else ():
        name = path.name.removesuffix(".partial")
        # What was being written when it ended counts as far as it goes; whole it is there under its own name.
        if _SEGMENT.fullmatch(name) and (path.name == name or not (log / name).exists()):  # type: ignore[operator]
            shutil.copyfile(path, cluster.data / "pg_wal" / name)
    (cluster.data / "recovery.signal").touch(mode=0o600)
    server.hand_over(cluster)
    server.configure(cluster, durable=True)
    with (cluster.data / "postgresql.conf").open("a") as settings:
        settings.write(_RECOVERY)
        if to is not None:
            settings.write(f"recovery_target_time = '{to.astimezone(UTC).isoformat(sep=' ')}'\n")
    with _let_in(cluster):
        try:
            server.start(cluster, within_s=_RECOVERY_S)
        except RecadoError as error:
            if _TOO_SHORT in _log(cluster):
                raise RecadoError(f"the set does not reach {to}: it ends with {_reached(cluster)}") from None
            raise error from None
        try:
            _give_passwords(cluster, passwords)
        finally:
            server.stop(cluster)
    return Recovered(at=_reached(cluster))


@contextlib.contextmanager
def _let_in(cluster: Cluster) -> Iterator[None]:
    """While it is open this process's user is the superuser by the kernel's word: the copy's passwords are unknown.

    The next start writes `pg_hba.conf` anew in any case.
    """
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    names, doors = cluster.data / "pg_ident.conf", cluster.data / "pg_hba.conf"
    before = names.read_bytes(), doors.read_bytes()
    names.write_text(f'restore "{user}" {SUPERUSER}\n')
    doors.write_text(f"local all {SUPERUSER} peer map=restore\n")
    try:
        yield
    finally:
        names.write_bytes(before[0])
        doors.write_bytes(before[1])


def _give_passwords(cluster: Cluster, passwords: dict[str, str]) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(
        host=str(cluster.socket_dir), port=PORT, user=SUPERUSER, dbname="postgres", autocommit=True
    ) as conn:
        there = {row[0] for row in conn.execute("SELECT rolname FROM pg_roles")}
        for login in sorted(there & passwords.keys()):
            conn.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login), sql.Literal(passwords[login]))
            )
        # Slots are for who followed the server that was copied.
        conn.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")


def _reached(cluster: Cluster) -> datetime | None:
    found = _REACHED.findall(_log(cluster))
    return max((datetime.fromisoformat(text).replace(tzinfo=UTC) for text in found), default=None)


def _log(cluster: Cluster) -> str:
    try:
        return cluster.log.read_text(errors="replace")
    except OSError:
        return ""
