"""The PostgreSQL of the tests: one cluster a run, shared by the workers of pytest-xdist, gone at the run's end.

Making a database costs as much as a hundred small tests, so a process makes few of them and lends them out: what a
test has left in one is taken out again before the next has it, and one whose schema was changed is thrown away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass(slots=True, kw_only=True)
class Databases:
    """Migrated databases that this process lends to its tests, one after the other."""

    cluster: Lease
    template: str
    _free: list[str] = field(default_factory=list, repr=False)
    _pristine: str | None = field(default=None, repr=False)

    @contextmanager
    def one(self) -> Iterator[str]:
        """The superuser's URL of a database as the migrations make it, of this caller's own meanwhile."""
        url = self._free.pop() if self._free else self._new()
        try:
            yield url
        finally:
            if self._emptied(url):
                self._free.append(url)
            else:
                drop_database(self.cluster, url)

    def _new(self) -> str:
        url = create_database(self.cluster, self.template)
        if self._pristine is None:
            with psycopg.connect(url, autocommit=True) as conn:
                self._pristine = _shape(conn)
        return url

    def _emptied(self, url: str) -> bool:
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                empty(conn)
                return _shape(conn) == self._pristine and not _is_worn(conn)
        except psycopg.Error:
            # It takes no connections any more, or is not there: the next test has another.
            return False


def empty(conn: psycopg.Connection) -> None:
    """Take every row out of a migrated database and let every sequence begin anew, as its superuser.

    Whoever else is connected is cut off. Rows that the migrations put there stay. Far cheaper than TRUNCATE, which
    makes new files for every table and index.
    """
    conn.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with conn.transaction():
        # Neither triggers nor foreign keys have a say: all of it goes.
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute(_EMPTY)


_USERS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
#: Tables that the migrations fill: their own. `_shape` sees when a test has changed one.
_KEPT = "('schema_version', 'dbos_migrations')"
_EMPTY = f"""
DO $$
DECLARE it record;
BEGIN
    FOR it IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname {_USERS} AND c.relkind IN ('r', 'S') AND c.relname NOT IN {_KEPT}
    LOOP
        IF it.relkind = 'r' THEN
            EXECUTE format('DELETE FROM %s', it.name);
        ELSE
            PERFORM setval(it.name, s.seqstart, false) FROM pg_sequence s WHERE s.seqrelid = it.name;
        END IF;
    END LOOP;
END $$
"""


#: What was deleted leaves its pages and index entries, which every later statement reads: a larger table is too worn.
WORN_BYTES = 256 * 1024


def _is_worn(conn: psycopg.Connection) -> bool:
    """Whether tests have left so many dead rows that the next would pay for them."""
    row = conn.execute(
        "SELECT max(pg_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname {_USERS} AND c.relkind = 'r'"
    ).fetchone()
    return row is not None and row[0] > WORN_BYTES


def _shape(conn: psycopg.Connection) -> str:
    """Something that is another as soon as anything but rows was changed: tables, rights, triggers, settings.

    A catalogue's rows know the transaction that wrote them, and copies of a database have the same.
    """
    rows = conn.execute(_SHAPE).fetchall()
    return repr(rows)


_CATALOGUES = (
    *("pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_trigger", "pg_policy", "pg_rewrite"),
    *("pg_proc", "pg_type", "pg_default_acl", "pg_extension", "pg_depend", "pg_namespace", "pg_description"),
)
_SHAPE = (
    " UNION ALL ".join(
        f"SELECT '{name}', count(*)::text || ' ' || max(xmin::text::bigint)::text FROM {name}"
        + (" WHERE nspname NOT LIKE 'pg\\_%temp\\_%'" if name == "pg_namespace" else "")
        for name in _CATALOGUES
    )
    + """
    UNION ALL SELECT 'version', concat(version_num, recado, functions) FROM recado.schema_version
    UNION ALL SELECT 'dbos', version::text FROM dbos.dbos_migrations
    UNION ALL SELECT 'database', concat(datallowconn, datconnlimit, datacl) FROM pg_database
              WHERE datname = current_database()
    UNION ALL SELECT 'settings', concat(setrole, setconfig) FROM pg_db_role_setting
              WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)
