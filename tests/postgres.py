"""The PostgreSQL of the tests: one cluster a run, shared by the workers of pytest-xdist, gone at the run's end.

`tests.lending` is what tests have databases from.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from recado.db import embedded
from recado.db.cluster import SUPERUSER
from recado.db.embedded import Lease

# Set by the run's first process; the workers of pytest-xdist inherit it.
RUN = "RECADO_TEST_RUN"
_PREFIX = "recado-test-"
_FORGOTTEN_S = 600


def begin_run() -> None:
    """Name the run, before its workers start, and sweep up what killed runs left behind."""
    if RUN in os.environ:
        return
    os.environ[RUN] = uuid.uuid4().hex[:12]
    for left in _left_behind(Path(tempfile.gettempdir())):
        shutil.rmtree(left, ignore_errors=True)


def _left_behind(folder: Path) -> Iterator[Path]:
    """Folders of tests that were killed a while ago; a keeper has stopped the server of each whose tests have ended."""
    homes = {left: left for pattern in (f"{_PREFIX}*", "recado-chaos-*") for left in folder.glob(pattern)}
    # Short names, for the socket's path: what is in it shows that it is ours.
    homes |= {left: left / "h" for left in folder.glob("r-*") if (left / "h" / "postgres.start").exists()}
    for left, home in homes.items():
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _FORGOTTEN_S and embedded.wait_until_stopped(home, timeout_s=0.1):
                yield left


def end_run() -> None:
    """Remove the run's cluster, once all workers have given it back."""
    home = run_home()
    if home.exists():
        embedded.wait_until_stopped(home)
        shutil.rmtree(home, ignore_errors=True)
    del os.environ[RUN]


def run_home() -> Path:
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{os.environ[RUN]}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Lease]:
    """The run's PostgreSQL server, without fsync: tests kill processes, not the machine."""
    with embedded.acquire(run_home(), durable=False) as lease:
        yield lease


def prepare(cluster: Lease, conn: psycopg.Connection) -> None:
    """Settings of a server that lives for minutes; by the run's first process that uses it."""
    # Vacuum would move the rows of a test while it runs, and costs more than it saves.
    conn.execute("ALTER SYSTEM SET autovacuum = off")
    # A connection costs half as much; of these passwords nobody can guess one anyway.
    conn.execute("ALTER SYSTEM SET scram_iterations = 1")
    conn.execute("SELECT pg_reload_conf()")
    conn.execute("SET scram_iterations = 1")
    conn.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(cluster.password(SUPERUSER))))


def create_database(cluster: Lease, template: str | None = None) -> str:
    """The superuser's URL of a new database, a copy of `template` (a URL or a name) if one is given.

    Nobody may be connected to the template meanwhile.
    """
    name = f"t_{uuid.uuid4().hex}"
    # Copying files takes a third of the time of writing the copy to the log, where nothing waits for the disk.
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
        sql.Identifier(name), sql.Identifier(_name(template) if template else "template1")
    )
    with psycopg.connect(cluster.admin_url, autocommit=True) as connection:
        connection.execute(statement)
    return cluster.url(SUPERUSER, cluster.password(SUPERUSER), name)


def drop_database(cluster: Lease, url: str) -> None:
    """Remove a database, whoever is connected to it; without effect when it is gone."""
    with psycopg.connect(cluster.admin_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_name(url))))


def _name(url: str) -> str:
    return urlsplit(url).path.lstrip("/") if "://" in url else url
