"""The keeper of an embedded PostgreSQL: starts it again when it dies, stops it when no process holds a lease.

`python -m recado.db.keeper HOME LOCK_FD`, started by `recado.db.embedded` and by nobody else; LOCK_FD is the inherited
descriptor of its lock, which it holds as long as it lives. It leaves with the server that it stopped.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from recado.db import cluster as server
from recado.db.cluster import Cluster
from recado.db.embedded import locked
from recado.errors import RecadoError

_POLL_S = 0.2
# Commands that follow each other find the server still running.
_LINGER_S = 1.0


def keep(cluster: Cluster, lock: int, terminations: list[int]) -> None:
    """Serve until no lease is left for a second, or for an instant after a termination signal; then stop the server.

    Closes `lock` before the start lock is free again: who comes next must find no keeper, or one that stays.
    """
    leases = os.open(cluster.leases, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    idle_since: float | None = None
    last_problem = ""
    while _is_same_file(leases, cluster.leases):
        try:
            if _is_held(leases):
                idle_since = None
                terminations.clear()
                if server.postmaster(cluster) is None:
                    _restart(cluster, leases)
            else:
                idle_since = idle_since or time.monotonic()
                if (terminations or time.monotonic() - idle_since >= _LINGER_S) and _leave(cluster, lock, leases):
                    return
        except (RecadoError, OSError) as error:
            # Nobody else can stop or restart the server, so try again; say it once, for the log has no bound.
            if str(error) != last_problem:
                last_problem = str(error)
                print(last_problem, file=sys.stderr, flush=True)
        time.sleep(_POLL_S)
    # Someone removed the home: its server would go on without a name.
    server.abandon(cluster)


def _restart(cluster: Cluster, leases: int) -> None:
    with locked(cluster.start_lock):
        # The first process to come makes the data directory itself, and reports what goes wrong.
        if _is_held(leases) and (cluster.data / "PG_VERSION").exists():
            server.start(cluster)


def _leave(cluster: Cluster, lock: int, leases: int) -> bool:
    with locked(cluster.start_lock):
        if _is_held(leases):
            return False
        server.stop(cluster)
        os.close(lock)
        return True


def _is_held(leases: int) -> bool:
    try:
        fcntl.flock(leases, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(leases, fcntl.LOCK_UN)
    return False


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def main() -> None:
    """Detach from the process that asked, then keep."""
    if os.fork():
        os._exit(0)
    # Control-C at the terminal is for the people's processes; they leave and the keeper follows.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    terminations: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: terminations.append(number))
    keep(Cluster(home=Path(sys.argv[1])), int(sys.argv[2]), terminations)


if __name__ == "__main__":
    main()
