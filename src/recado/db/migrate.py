"""Bring a database to this version's schema: roles, the product's tables and functions, the workflow engine's tables.

Each migration is a transaction of its own, and none waits long for a lock: the processes of the release before go on
meanwhile. Migrations only add; none drops data. Run by the role that owns the tables, never by the application's role.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy.exc import ProgrammingError

from recado import __version__
from recado.db import functions
from recado.db.pool import guarded
from recado.db.schema import (
    BASELINE,
    BEFORE_BASELINE,
    HEAD,
    RECORDED,
    RECORDED_BEFORE,
    Recorded,
    compare,
    recorded,
)
from recado.errors import RecadoError, SchemaError

#: Any two migrations of one database wait for each other.
LOCK = 0x7265_6361_646F

#: A migration waits so long for a lock, tries so often to get all that it needs, and pauses at most so long between.
LOCK_S, TRIES, PAUSE_S = 2.0, 20, 5.0
_HELD_UP: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
#: The revision of 0.1.0, which asks `schema_version` for it.
FIRST: Final = "0036"

# What 0.1.0 and those before it have as Alembic's table stays theirs (`m0037_release`).
_REVISION = """
DO $$
BEGIN
    IF to_regclass('recado.schema_revision') IS NULL THEN
        CREATE TABLE recado.schema_revision (
            version_num varchar(32) NOT NULL, CONSTRAINT schema_revision_pkc PRIMARY KEY (version_num));
        CREATE TABLE IF NOT EXISTS recado.schema_version (
            version_num varchar(32) NOT NULL, CONSTRAINT schema_version_pkc PRIMARY KEY (version_num));
        INSERT INTO recado.schema_revision (version_num) SELECT version_num FROM recado.schema_version;
    END IF;
END $$
"""

T = TypeVar("T")

#: The role of what serves one owner at a time, and those of what goes across owners.
APP, ACROSS = "recado_app", ("recado_platform", "recado_engine")

_ROLES = """
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['recado_app', 'recado_platform', 'recado_engine'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this cluster is being migrated at this moment
            END;
        END IF;
        BEGIN
            -- Who makes a role is its member, but from PostgreSQL 16 on may not work under it before this.
            EXECUTE format('GRANT %I TO %I', name, session_user);
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;  -- somebody else made the roles, and has to have granted them
        END;
    END LOOP;
END $$
"""


_SEEN = (
    *("workflow_uuid", "name", "status", "queue_name", "queue_partition_key", "executor_id"),
    *("created_at", "started_at_epoch_ms"),
)
# The engine's tables hold what every owner's contacts are answered. Recovery and retention see where a workflow stands,
# not what is in it; versions before 0.1.0 let both roles in.
_ENGINES_ALONE = (
    *(
        f"REVOKE ALL ON ALL {things} IN SCHEMA dbos FROM PUBLIC, recado_app, recado_platform"
        for things in ("TABLES", "SEQUENCES", "FUNCTIONS")
    ),
    *(
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA dbos REVOKE ALL ON {things} FROM recado_app"
        for things in ("TABLES", "SEQUENCES", "FUNCTIONS")
    ),
    "REVOKE ALL ON SCHEMA dbos FROM PUBLIC, recado_app",
    "GRANT USAGE ON SCHEMA dbos TO recado_platform",
    f"GRANT SELECT ({', '.join(_SEEN)}) ON dbos.workflow_status TO recado_platform",
    # What people wrote is in no statistics: a sample of it would outlive its rows.
    *(
        f"ALTER TABLE dbos.{table} ALTER output SET STATISTICS 0, ALTER error SET STATISTICS 0"
        for table in ("operation_outputs", "workflow_output", "workflow_status")
    ),
)


def migrate(url: str, *, login: str | None = None, platform_login: str | None = None, own: bool = False) -> list[str]:
    """Bring the database at `url` to `HEAD` and answer what was done; nothing to do is an empty list.

    `login` is who the application connects as, when that is not the login in `url`, and `platform_login` who goes
    across owners, when that is another: each may then work under its own role and not under the other's. With `own`
    functions that another recado put there are replaced too. A database that is newer is left alone; raises SchemaError
    when this code does not work with it.
    """
    os.environ.setdefault("DBOS_DISABLE_TELEMETRY", "1")
    migrating = engine(url)
    try:
        with _alone(migrating):
            if not _prepare(migrating, login, platform_login):
                return []
            done = _to_head(migrating, own=own)
            try:
                _validate(migrating)
                return done + _migrate_workflow_engine(migrating, url)
            except sa.exc.DBAPIError as error:
                raise RecadoError(
                    f"the schema is at {HEAD}, what follows it failed: {_first_line(error)}; run `recado migrate` again"
                ) from None
    finally:
        migrating.dispose()


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[None]:
    """While it is open no other process migrates; whoever comes waits."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as held:
        held.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        yield


def _prepare(engine: sa.Engine, login: str | None, platform_login: str | None) -> bool:
    """Roles, the schema and its revision's table; whether there may be more to do: a newer database is left alone."""

    def prepare(conn: sa.Connection) -> bool:
        before = _recorded(conn)
        _check(before)
        conn.execute(sa.text(_ROLES))
        _assign(conn, login, platform_login)
        if compare(before) == "ahead":
            return False
        conn.execute(sa.text("CREATE SCHEMA IF NOT EXISTS recado"))
        conn.execute(sa.text(_REVISION))
        return True

    return _in_turn(engine, "preparing the schema", prepare)


def _to_head(engine: sa.Engine, *, own: bool) -> list[str]:
    """The migrations that are not there, each in a transaction of its own, and then the functions."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.connect() as conn:
        before = _recorded(conn)
    had = before.version if before else None
    for script in _after(config, had):
        _in_turn(engine, f"migration {script.revision}", partial(_upgrade, config=config, script=script))
    done = [] if had == HEAD else [f"recado {had or 'empty'} -> {HEAD}"]
    return done + _in_turn(engine, "replacing functions", partial(_put_functions, own=own))


def _after(config: Config, had: str | None) -> list[Script]:
    scripts = ScriptDirectory.from_config(config)
    return list(scripts.iterate_revisions("head", had or "base"))[::-1]


def _upgrade(conn: sa.Connection, *, config: Config, script: Script) -> None:
    """One migration; from which revision on code works with the schema after it is said with it."""
    conn.execute(sa.text("SET LOCAL search_path TO recado"))
    config.attributes["connection"] = conn
    command.upgrade(config, script.revision)
    oldest = getattr(script.module, "compatible_from", None)
    if oldest is not None:
        conn.execute(sa.text("UPDATE schema_revision SET compatible_from = :oldest"), {"oldest": oldest})
        if oldest > FIRST:  # 0.1.0 asks elsewhere, and is to find a schema that is not its own
            conn.execute(sa.text("UPDATE schema_version SET version_num = :now"), {"now": script.revision})


def _in_turn(engine: sa.Engine, what: str, work: Callable[[sa.Connection], T]) -> T:
    """Do it in a transaction that waits for no lock longer than `LOCK_S`, again until it gets all.

    Who waits for a table's lock holds up all who come behind, so it gives way: those it would have held up go first.
    """
    for attempt in range(1, TRIES + 1):
        try:
            with engine.begin() as conn:
                conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_S:.3f}s'")
                return work(conn)
        except sa.exc.DBAPIError as error:
            if not isinstance(error.orig, _HELD_UP):
                raise RecadoError(f"{what} failed, nothing of it was done: {_first_line(error)}") from None
            if attempt < TRIES:
                time.sleep(min(0.1 * 2**attempt, PAUSE_S) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
    raise RecadoError(
        f"{what} got no lock in {TRIES} tries, nothing of it was done: end long transactions (`pg_stat_activity`), "
        "or run `recado migrate` again when less is going on"
    )


def engine(url: str) -> sa.Engine:
    """Connections for migrations: a peer that vanishes is noticed; what the URL asks of the server besides is kept."""
    there = sa.make_url(url).set(drivername="postgresql+psycopg")
    given = there.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)
    return sa.create_engine(there, poolclass=sa.NullPool, connect_args=guarded(options))


def _validate(engine: sa.Engine) -> None:
    """Look whether what was there before fits the constraints of migrations, while the tables go on being used.

    In transactions of their own: a migration's holds its tables for itself until it ends. A constraint that is not
    validated holds for what is written all the same, and the next `migrate` looks again.
    """
    with engine.begin() as conn:
        waiting = conn.execute(
            sa.text(
                "SELECT conrelid::regclass::text AS table, conname AS name FROM pg_constraint "
                "WHERE connamespace = 'recado'::regnamespace AND NOT convalidated ORDER BY conname"
            )
        ).all()
    for table, name in waiting:
        statement = f"ALTER TABLE {table} VALIDATE CONSTRAINT {_quoted(name)}"
        _in_turn(engine, f"validating {name}", lambda conn, sql=statement: conn.exec_driver_sql(sql))  # type: ignore[misc]


def _assign(conn: sa.Connection, login: str | None, platform_login: str | None) -> None:
    """Let each login work under the roles that it is for, and under no other."""
    migrator = conn.execute(sa.text("SELECT session_user")).scalar()
    for member, roles in ((login, (APP,)), (platform_login or login, ACROSS)):
        if member is not None:
            for role in roles:
                conn.exec_driver_sql(f"GRANT {role} TO {_quoted(member)}")
    # Who migrates needs them all, and owns the tables anyway.
    if login is not None and platform_login not in (None, login) and login != migrator:
        for role in ACROSS:
            _take_away(conn, role, login)


def _take_away(conn: sa.Connection, role: str, login: str) -> None:
    """End the membership, whoever granted it: from PostgreSQL 16 on each grant is ended by itself."""
    granted = conn.execute(
        sa.text(
            "SELECT m.grantor::regrole::text AS grantor FROM pg_auth_members m "
            "WHERE m.roleid = to_regrole(:role) AND m.member = (SELECT oid FROM pg_roles WHERE rolname = :login)"
        ),
        {"role": role, "login": login},
    ).scalars()
    each = int(conn.execute(sa.text("SELECT current_setting('server_version_num')")).scalar_one()) >= 160_000
    for grantor in granted.all():
        by = f" GRANTED BY {grantor}" if each else ""
        with suppress(ProgrammingError), conn.begin_nested():  # a superuser's grant only they can end: the doctor tells
            conn.exec_driver_sql(f"REVOKE {role} FROM {_quoted(login)}{by}")


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _recorded(conn: sa.Connection) -> Recorded | None:
    there = conn.execute(sa.text("SELECT to_regclass('recado.schema_revision') IS NOT NULL")).scalar()
    before = conn.execute(sa.text("SELECT to_regclass('recado.schema_version') IS NOT NULL")).scalar()
    if not there and not before:
        return None
    row = conn.execute(sa.text(RECORDED if there else RECORDED_BEFORE)).scalar()
    return recorded(row) if row is not None else None


def _check(before: Recorded | None) -> None:
    """Raise SchemaError for what this recado can't bring to its schema and does not work with, saying what to do."""
    if before is None:
        return
    if compare(before) == "newer":
        raise SchemaError(
            f"the database has schema {before.version} of recado {before.recado}, which needs {before.compatible_from} "
            f"or newer, and this recado has {HEAD}: nothing done"
        )
    if before.version < BASELINE:
        raise SchemaError(
            f"the database has schema {before.version}, older than {BASELINE}, with which this recado's migrations "
            f"begin: nothing done; run `recado migrate` of the sources' commit {BEFORE_BASELINE}, then this one"
        )


def _put_functions(conn: sa.Connection, *, own: bool) -> list[str]:
    """Apply the files of `db/functions` that the database has as they were; answers what was done and what was left."""
    there = _recorded(conn)
    assert there is not None  # noqa: S101 - the migrations have put it there
    others = functions.foreign(there.functions)
    names = sorted({*functions.outdated(there.functions), *(others if own else ())})
    left = {name: there.functions[name] for name in others if not own}
    if names or set(there.functions) - set(functions.digests()):
        conn.execute(sa.text("SET LOCAL search_path TO recado"))
        functions.put(conn, names)
        conn.execute(
            sa.text("UPDATE recado.schema_revision SET functions = CAST(:functions AS jsonb), recado = :recado"),
            {"functions": json.dumps(dict(functions.digests()) | left), "recado": __version__},
        )
    if not there.functions:
        return []  # of a new database the functions are no news
    said = [f"functions: {', '.join(names)}"] if names else []
    if left:
        said.append(
            f"left as another recado has them: {', '.join(left)}; `recado migrate --functions` puts this recado's"
        )
    return said


def _migrate_workflow_engine(engine: sa.Engine, url: str) -> list[str]:
    from dbos import DBOS

    def version() -> int:
        with engine.connect() as conn:
            if conn.execute(sa.text("SELECT to_regclass('dbos.dbos_migrations')")).scalar() is None:
                return 0
            return int(conn.execute(sa.text("SELECT max(version) FROM dbos.dbos_migrations")).scalar() or 0)

    before = version()
    DBOS.migrate(url, application_role="recado_engine")
    with engine.begin() as conn:
        for statement in _ENGINES_ALONE:
            conn.execute(sa.text(statement))
    _forget_samples(engine)
    after = version()
    return [] if before == after else [f"dbos {before or 'empty'} -> {after}"]


def _forget_samples(engine: sa.Engine) -> None:
    """Have the planner forget what it sampled of columns before it was told to sample them no more, where we may."""
    with suppress(ProgrammingError), engine.begin() as conn:
        conn.execute(
            sa.text(
                "DELETE FROM pg_statistic s USING pg_attribute a, pg_class c WHERE a.attrelid = s.starelid "
                "AND a.attnum = s.staattnum AND a.attstattarget = 0 AND c.oid = a.attrelid "
                "AND c.relnamespace IN ('recado'::regnamespace, 'dbos'::regnamespace)"
            )
        )


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
