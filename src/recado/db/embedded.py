"""The embedded PostgreSQL: one server for all processes that share a home, stopped when the last of them leaves.

Each process holds a shared `flock` on one file, its lease; the kernel drops it however the process dies. A small
detached process, the keeper (`recado.db.keeper`), starts PostgreSQL again when it dies and stops it when no lease is
left. Whoever starts or stops the server, or starts the keeper, holds the start lock meanwhile.

    HOME/postgres          data directory, socket and log    HOME/postgres.json    the passwords, for nobody else
    HOME/postgres.start    the start lock                    HOME/postgres.leases  the leases
    HOME/postgres.keeper   held by the keeper                HOME/postgres.log     what the keeper could not do
    HOME/restore.unfinished  there while `recado restore` is at work (`recado.db.basebackup`)

Imports the standard library only: the keeper has to stay small.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from recado.errors import RecadoError, SettingsError

try:
    import fcntl
except ImportError as error:
    raise SettingsError("the embedded PostgreSQL needs Linux or macOS: set RECADO_DATABASE_URL") from error

from recado.db import cluster as server
from recado.db.cluster import PORT, SUPERUSER, Cluster

_START_LOCK_S = 180.0
# What a Python process may need to start; no provider's key and no secret of ours.
_KEEPER_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "LANG", "TZ")


@dataclass(slots=True, kw_only=True)
class Lease:
    """While it is held, here or in another process, the server runs. `release` or the process's end gives it back."""

    cluster: Cluster
    _fd: int | None = field(repr=False)

    @property
    def socket_dir(self) -> Path:
        """The folder of the server's socket; there is no TCP port."""
        return self.cluster.socket_dir

    @property
    def admin_url(self) -> str:
        """The superuser's URL of the database `postgres`. Holds a password: never log it."""
        return self.url(SUPERUSER, self.password(SUPERUSER), "postgres")

    def url(self, user: str, password: str, database: str) -> str:
        """A `postgresql://` URL, for libpq and SQLAlchemy alike."""
        place = urlencode({"host": str(self.socket_dir), "port": PORT}, quote_via=quote)
        return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@/{quote(database, safe='')}?{place}"

    def password(self, user: str) -> str:
        """The password kept for this login, made at the first call. Giving it to the role is the caller's work."""
        with locked(self.cluster.start_lock):
            return server.password(self.cluster, user)

    def ensure(self) -> None:
        """Start a keeper if there is none; it starts the server if that is down. Some 20 microseconds if all is well.

        For long-lived processes to call about each second; does nothing after `release`.
        """
        if self._fd is None:
            return
        lock = try_lock(self.cluster.start_lock)
        if lock is None:
            # Someone is at it.
            return
        try:
            _ensure_keeper(self.cluster)
        finally:
            os.close(lock)

    def release(self) -> None:
        """Give the lease back; without effect the second time. The keeper stops the server when it was the last."""
        if self._fd is None:
            return
        with contextlib.suppress(OSError, RecadoError):
            # Without a keeper nobody would stop the server.
            self.ensure()
        os.close(self._fd)
        self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire(home: Path, *, durable: bool = True, restoring: bool = False) -> Lease:
    """Make sure that the server of `home/postgres` exists and runs, and hold it running.

    Takes milliseconds when it runs, a quarter of a second when it is stopped, a second or two the first time.
    `durable=False` trades the data's safety at a power failure for speed, for tests; it counts when the server is
    started by this call. `restoring` is for `recado restore` alone.

    Raises SettingsError when PostgreSQL is not installed; RecadoError when it can't be started, when the data is of
    another major version, when a restore was cut short, or when the home belongs to another user.
    """
    server.program("postgres")
    try:
        cluster = server.open_home(home)
        with locked(cluster.start_lock) as lock:
            if cluster.unfinished.exists() and not restoring:
                raise RecadoError(f"a restore into {cluster.home} was not finished: run `recado restore` again")
            lease = _take_lease(cluster)
            try:
                # First of all, so that somebody stops the server if this process dies here.
                _ensure_keeper(cluster)
                server.initialise(cluster, durable=durable, lock=lock)
                if server.postmaster(cluster) is None:
                    server.configure(cluster, durable=durable)
                server.start(cluster)
            except BaseException:
                os.close(lease)
                raise
            return Lease(cluster=cluster, _fd=lease)
    except PermissionError as error:
        raise RecadoError(
            f"the embedded PostgreSQL can't use {error.filename}: give it to this user, or set RECADO_HOME to a folder "
            "of its own"
        ) from error


def wait_until_stopped(home: Path, *, timeout_s: float = 30.0) -> bool:
    """Whether the server of this home was stopped and its keeper gone before the time was over."""
    cluster = Cluster(home=home.resolve())
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not cluster.start_lock.exists():
            return True
        lock = try_lock(cluster.start_lock)
        if lock is not None:
            try:
                keeper = try_lock(cluster.keeper_lock)
                if keeper is not None:
                    os.close(keeper)
                    if server.postmaster(cluster) is None:
                        return True
            finally:
                os.close(lock)
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def locked(path: Path, *, wait_s: float = _START_LOCK_S) -> Iterator[int]:
    """Hold a file's exclusive lock, as a descriptor. Raises RecadoError when another process keeps it too long."""
    deadline = time.monotonic() + wait_s
    while (fd := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise RecadoError(f"another process has held {path} for {wait_s:.0f} s")
        time.sleep(0.02)
    try:
        yield fd
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the file's exclusive lock until it is closed; None when another one holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _take_lease(cluster: Cluster) -> int:
    fd = os.open(cluster.leases, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # The keeper looks for leases by taking this lock alone, for an instant: wait.
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _ensure_keeper(cluster: Cluster) -> None:
    """Start the keeper unless it lives. Under the start lock.

    The keeper inherits the descriptor that holds its lock, so there is no instant in which a second one could start.
    """
    lock = try_lock(cluster.keeper_lock)
    if lock is None:
        return
    try:
        with cluster.keeper_log.open("wb") as log:
            cluster.keeper_log.chmod(0o600)
            # It forks and its first process ends at once: nobody here has a child to wait for.
            subprocess.run(  # noqa: S603
                [sys.executable, "-m", "recado.db.keeper", cluster.home, str(lock)],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={name: os.environ[name] for name in _KEEPER_ENVIRONMENT if name in os.environ},
                pass_fds=[lock],
                start_new_session=True,
            )
    except subprocess.CalledProcessError as error:
        raise RecadoError(f"the keeper of {cluster.data} did not start: see {cluster.keeper_log}") from error
    finally:
        os.close(lock)
