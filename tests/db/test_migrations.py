from __future__ import annotations

import re

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from recado.db import migrate as migrating
from recado.db.embedded import Lease
from recado.db.migrate import migrate
from recado.db.pool import conninfo
from recado.db.schema import BASELINE, HEAD, Recorded, compare, refuse
from recado.errors import RecadoError, SchemaError
from tests.db import catalogue
from tests.postgres import create_database, drop_database


def test_a_migrated_database_has_the_head_that_the_code_expects(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT version_num FROM recado.schema_version").fetchone() == (HEAD,)


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


def test_a_newer_database_is_left_alone_and_said_to_be_newer(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE recado.schema_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="newer"):
        migrate(database_url)
    with pytest.raises(SchemaError, match="newer"):
        refuse(compare(Recorded(version="9999", functions={}, recado="0")))


def test_a_database_from_before_the_baseline_is_left_alone_and_says_what_to_do(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE recado.schema_version SET version_num = '0033', functions = '{}'")
    with pytest.raises(SchemaError, match=f"schema 0033, older than {BASELINE}.* run `recado migrate` of .*commit"):
        migrate(database_url)
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT version_num FROM recado.schema_version").fetchone() == ("0033",)


def test_the_schema_that_is_written_down_is_the_one_that_there_is(database_url: str) -> None:
    assert catalogue.dump(database_url) == catalogue.FILE.read_text(encoding="utf-8"), "run `make schema`"


@pytest.mark.parametrize("version", [None, "0000"])
def test_a_missing_or_older_schema_says_what_to_do(version: str | None) -> None:
    with pytest.raises(SchemaError, match="recado migrate"):
        refuse(compare(version and Recorded(version=version, functions={}, recado="0")))


def test_no_migration_drops_or_deletes() -> None:
    from pathlib import Path

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

    def look(*_: object) -> list[str]:
        with psycopg.connect(database_url, autocommit=True) as conn:
            free.append(conn.execute("SELECT pg_try_advisory_lock(%s)", [migrating.LOCK]).fetchone())
        return []

    for step in ("_to_head", "_validate", "_migrate_workflow_engine"):
        monkeypatch.setattr(migrating, step, look)
    migrate(database_url)
    assert free == [(False,)] * 3


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
