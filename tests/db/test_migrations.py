from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import Script
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from recado.db import migrate as migrating
from recado.db.embedded import Lease
from recado.db.migrate import migrate
from recado.db.pool import connect, conninfo
from recado.db.schema import BASELINE, HEAD, NEEDS, Recorded, Standing, compare, refuse, standing
from recado.errors import RecadoError, SchemaError
from tests.db import catalogue
from tests.postgres import create_database, drop_database


def test_a_migrated_database_has_the_head_that_the_code_expects(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT version_num FROM recado.schema_revision").fetchone() == (HEAD,)


def test_migrating_again_does_nothing(database_url: str) -> None:
    assert migrate(database_url) == []


def test_migrating_keeps_what_is_there(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("INSERT INTO recado.owners (id, name) VALUES (gen_random_uuid(), 'Padaria')")
    migrate(database_url)
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT name FROM recado.owners").fetchall() == [("Padaria",)]


def test_migrating_takes_from_the_application_what_it_once_might_do_with_the_workflow_engines_tables(
    database_url: str,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("GRANT USAGE ON SCHEMA dbos TO recado_app")
        conn.execute("GRANT ALL ON ALL TABLES IN SCHEMA dbos TO recado_app, recado_platform")
        conn.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA dbos GRANT ALL ON TABLES TO recado_app")
        migrate(database_url)
        assert conn.execute(
            """
            SELECT has_schema_privilege('recado_app', 'dbos', 'USAGE'),
                   has_table_privilege('recado_app', 'dbos.operation_outputs', 'SELECT'),
                   has_table_privilege('recado_platform', 'dbos.operation_outputs', 'SELECT'),
                   (SELECT count(*) FROM pg_default_acl, aclexplode(defaclacl) WHERE grantee = 'recado_app'::regrole)
            """
        ).fetchone() == (False, False, False, 0)


def put(database_url: str, **told: str) -> None:
    """Let the database say that of its schema."""
    with psycopg.connect(database_url, options="-c search_path=recado") as conn:
        for column, value in told.items():
            conn.execute(sql.SQL("UPDATE schema_revision SET {} = %s").format(sql.Identifier(column)), [value])


def recorded(version: str, compatible_from: str = HEAD) -> Recorded:
    return Recorded(version=version, compatible_from=compatible_from, functions={}, recado="0")


def test_a_newer_database_that_this_version_does_not_work_with_is_left_alone_and_said_to_be_newer(
    database_url: str,
) -> None:
    put(database_url, version_num="9999", compatible_from="9000", recado="9.1.0")
    with pytest.raises(SchemaError, match=f"schema 9999 of recado 9.1.0, which needs 9000 or newer.*{HEAD}.*nothing"):
        migrate(database_url)
    with pytest.raises(SchemaError, match="newer"):
        refuse(compare(recorded("9999", "9000")))


async def test_with_a_newer_database_that_says_so_this_version_serves_and_changes_nothing(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE recado.schema_revision SET functions = jsonb_set(functions, '{lane}', '\"newer\"')")
    put(database_url, version_num="9999", compatible_from=HEAD, recado="9.1.0")
    assert migrate(database_url) == []
    async with await connect(database_url, "recado_app") as conn:
        found = await standing(conn)
        assert (found.state, found.serves, found.recado) == ("ahead", True, "9.1.0")
        assert found.warnings == (), "a newer schema has its own functions"
    refuse(found.state)


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_a_version_serves_with_a_schema_that_it_needs_and_that_says_it_is_compatible(now: int, since: int) -> None:
    since = min(since, now)
    served = Standing(state=compare(recorded(f"{now:04}", f"{since:04}"))).serves
    assert served == (int(NEEDS) <= now and (now <= int(HEAD) or since <= int(HEAD)))


def test_a_database_from_before_the_baseline_is_left_alone_and_says_what_to_do(database_url: str) -> None:
    put(database_url, version_num="0033")
    with pytest.raises(SchemaError, match=f"schema 0033, older than {BASELINE}.* run `recado migrate` of .*commit"):
        migrate(database_url)
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT version_num FROM recado.schema_revision").fetchone() == ("0033",)


def test_a_migration_that_finds_a_table_in_use_gives_way_and_is_done_when_it_is_free(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a table's lock holds up all that come behind it."""
    monkeypatch.setattr(migrating, "LOCK_S", 0.05)
    tried = threading.Event()
    pause = time.sleep

    def sleep(seconds: float) -> None:
        tried.set()
        pause(min(seconds, 0.05))

    monkeypatch.setattr(migrating.time, "sleep", sleep)
    with psycopg.connect(database_url) as held, ThreadPoolExecutor(1) as thread:
        held.execute("SELECT FROM recado.owners")
        engine = migrating.engine(database_url)
        try:
            done = thread.submit(
                migrating._in_turn, engine, "a test", lambda c: c.exec_driver_sql("LOCK TABLE recado.owners")
            )
            assert tried.wait(30)
            with psycopg.connect(database_url) as other:
                other.execute("SET statement_timeout = '20s'")
                other.execute("SELECT FROM recado.owners")
            held.rollback()
            done.result(timeout=30)
        finally:
            engine.dispose()


def test_a_migration_that_gets_no_lock_says_what_to_do_and_has_done_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "LOCK_S", 0.01)
    monkeypatch.setattr(migrating, "PAUSE_S", 0.01)
    monkeypatch.setattr(migrating, "TRIES", 3)
    with psycopg.connect(database_url) as held:
        held.execute("SELECT FROM recado.schema_revision")
        monkeypatch.setattr(migrating, "_put_functions", lambda conn, **_: conn.exec_driver_sql(LOCKS) and [])
        with pytest.raises(RecadoError, match="replacing functions got no lock in 3 tries, nothing of it was done"):
            migrate(database_url)


LOCKS = "LOCK TABLE recado.schema_revision IN ACCESS EXCLUSIVE MODE"


def test_each_migration_is_a_transaction_of_its_own(cluster: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of them has done stays when the next fails, and the next `migrate` goes on from there."""
    url = create_database(cluster)
    upgrade = migrating._upgrade

    def fails_at_the_last(conn: sa.Connection, *, config: Config, script: Script) -> None:
        upgrade(conn, config=config, script=script)
        if script.revision == HEAD:
            conn.exec_driver_sql("SELECT 1 / 0")

    try:
        with monkeypatch.context() as patched:
            patched.setattr(migrating, "_upgrade", fails_at_the_last)
            with pytest.raises(RecadoError, match=f"migration {HEAD} failed, nothing of"):
                migrate(url)
        with psycopg.connect(url) as conn:
            row = conn.execute("SELECT version_num FROM recado.schema_revision").fetchone()
            assert row is not None
            assert BASELINE <= row[0] < HEAD
        assert migrate(url)[0] == f"recado {row[0]} -> {HEAD}"
        assert migrate(url) == []
    finally:
        drop_database(cluster, url)


def test_a_migration_that_ends_what_works_says_so_to_the_first_release_too(
    database_url: str,
) -> None:
    engine = migrating.engine(database_url)

    def contract(conn: sa.Connection) -> None:
        script = SimpleNamespace(revision=HEAD, module=SimpleNamespace(compatible_from=HEAD))
        migrating._upgrade(conn, config=_config(), script=script)  # type: ignore[arg-type]

    try:
        with engine.begin() as conn:
            contract(conn)
    finally:
        engine.dispose()
    with psycopg.connect(database_url) as conn:
        said = "SELECT r.compatible_from, v.version_num FROM recado.schema_revision r, recado.schema_version v"
        assert conn.execute(said).fetchone() == (HEAD, HEAD)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrating.__file__).parent / "migrations"))
    return config


def test_the_schema_that_is_written_down_is_the_one_that_there_is(database_url: str) -> None:
    assert catalogue.dump(database_url) == catalogue.FILE.read_text(encoding="utf-8"), "run `make schema`"


@pytest.mark.parametrize("version", [None, "0000"])
def test_a_missing_or_older_schema_says_what_to_do(version: str | None) -> None:
    with pytest.raises(SchemaError, match="recado migrate"):
        refuse(compare(version and recorded(version)))


def test_no_migration_drops_or_deletes() -> None:
    import recado.db.migrations.versions as versions

    folder = Path(versions.__path__[0])
    for file in (*folder.glob("m*.py"), *(folder.parent / "baseline").glob("*.sql")):
        # What a function does when it is called is no part of the migration; a DO block is.
        text = re.sub(r"\bAS (\$\w*\$).*?\1", "", file.read_text().upper(), flags=re.DOTALL)
        for word in ("DROP TABLE", "DROP COLUMN", "TRUNCATE", "DELETE FROM"):
            assert word not in text, f"{file.name}: {word}"


def test_connections_work_under_the_applications_role_whatever_the_login(database_url: str) -> None:
    with psycopg.connect(conninfo(database_url, "recado_app")) as conn:
        assert conn.execute("SELECT current_user").fetchone() == ("recado_app",)
        conn.execute("RESET ROLE")
        assert conn.execute("SELECT current_user").fetchone() == ("recado_app",)


def test_a_login_of_its_own_becomes_a_member_and_needs_no_more(cluster: Lease) -> None:
    url = create_database(cluster)
    login = "login_" + url.rsplit("/t_", 1)[1][:8]
    try:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD 'x'").format(sql.Identifier(login)))
        migrate(url, login=login)
        name = url.rsplit("/", 1)[1].split("?")[0]
        with psycopg.connect(conninfo(cluster.url(login, "x", name), "recado_app")) as conn:
            assert conn.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    finally:
        drop_database(cluster, url)
        with psycopg.connect(cluster.admin_url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


def test_every_table_with_an_owner_has_row_level_security_forced(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            """
            SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
                   EXISTS (SELECT FROM pg_policies p WHERE p.schemaname = 'recado' AND p.tablename = c.relname
                           AND 'recado_app' = ANY(p.roles))
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'recado' AND c.relkind = 'r' AND (c.relname = 'owners' OR EXISTS (
                SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'owner_id'))
            """
        ).fetchall()
    assert len(rows) >= 13
    assert [row for row in rows if row[1:] != (True, True, True)] == []


def test_whatever_migrating_does_no_other_does_meanwhile(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    free = []

    def look(*_: object, **__: object) -> list[str]:
        with psycopg.connect(database_url, autocommit=True) as conn:
            free.append(conn.execute("SELECT pg_try_advisory_lock(%s)", [migrating.LOCK]).fetchone())
        return []

    for step in ("_prepare", "_to_head", "_validate", "_migrate_workflow_engine"):
        monkeypatch.setattr(migrating, step, look)
    migrate(database_url)
    assert free == [(False,)]  # the first found nothing more to do
    monkeypatch.setattr(migrating, "_prepare", lambda *_: True)
    migrate(database_url)
    assert free == [(False,)] * 4


def test_what_fails_after_the_schema_is_there_is_said_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_engine(*_: object) -> list[str]:
        raise sa.exc.InternalError("GRANT", None, Exception("tuple concurrently updated"))

    monkeypatch.setattr(migrating, "_migrate_workflow_engine", refuse_engine)
    with pytest.raises(RecadoError, match=f"the schema is at {HEAD}.*concurrently updated; run `recado migrate` again"):
        migrate(database_url)


def test_no_other_trigger_is_made_of_a_function_that_counts_for_whoever_it_is_told(database_url: str) -> None:
    with psycopg.connect(database_url, options="-c role=recado_app -c search_path=recado") as conn:
        conn.execute("CREATE TEMP TABLE bait (owner_id uuid, taken_at timestamptz)")
        for name in ("meter_part", "forget_proof", "count_stored"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute(
                    sql.SQL("CREATE TRIGGER t AFTER INSERT ON bait FOR EACH ROW EXECUTE FUNCTION {}()").format(
                        sql.Identifier(name)
                    )
                )
