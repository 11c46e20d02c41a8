"""Lending databases: the next test has one as the migrations make it, whatever the one before did to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest

from recado.db.embedded import Lease
from recado.ids import new_id
from tests import lending
from tests.lending import Databases
from tests.postgres import drop_database


@pytest.fixture(scope="module")
def own(cluster: Lease, template: str) -> Iterator[Databases]:
    """What lends to these tests alone: which database is lent next is theirs to say."""
    databases = Databases(cluster=cluster, template=template)
    yield databases
    databases.close()


def lent_again(databases: Databases, *statements: str) -> bool:
    """Whether a database in which these were run is lent again."""
    with databases.one() as url, psycopg.connect(url, autocommit=True, options="-c search_path=recado") as conn:
        for statement in statements:
            conn.execute(statement.encode())
    with databases.one() as next_url:
        return next_url == url


SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
VERSIONS = "SELECT * FROM schema_version, schema_revision, dbos.dbos_migrations"


def test_rows_and_sequences_are_as_new_when_it_is_lent_again(own: Databases) -> None:
    with own.one() as url:
        new = lending.rows(url, SEQUENCES)
        versions = lending.rows(url, VERSIONS)
        lending.rows(url, "INSERT INTO owners (id, name) VALUES (%s, 'Padaria')", new_id())
        lending.rows(url, "INSERT INTO dbos.workflow_status (workflow_uuid, status) VALUES ('w', 'PENDING')")
        lending.rows(url, "SELECT setval(oid::regclass, 7) FROM pg_class WHERE relkind = 'S'")
        assert lending.rows(url, SEQUENCES) != new
    with own.one() as again:
        assert again == url
        assert lending.rows(url, "SELECT FROM owners") == lending.rows(url, "SELECT FROM dbos.workflow_status") == []
        assert lending.rows(url, SEQUENCES) == new
        assert lending.rows(url, VERSIONS) == versions != []


def test_every_table_is_emptied_but_for_what_the_migrations_keep_there(own: Databases) -> None:
    tables = (
        "SELECT format('%%I.%%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname ~ '^(recado|dbos)$'"
    )
    with own.one() as url:
        names = {row["name"] for row in lending.rows(url, tables)}
        emptied = lending._LENT[url]._empty
    assert len(names) > 40
    kept = {name for name in names if f"(DELETE FROM {name})" not in emptied}
    assert kept == {"recado.schema_version", "recado.schema_revision", "dbos.dbos_migrations"}


def test_what_is_deleted_by_nobody_is_deleted_all_the_same(own: Databases) -> None:
    """Triggers that keep rows, and foreign keys, are the product's; here they have no say."""
    with own.one() as url:
        function = "CREATE FUNCTION pg_temp.never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        lending.rows(url, function)
        lending.rows(url, "INSERT INTO owners (id, name) VALUES (%s, 'Padaria')", new_id())
        lending.rows(url, "CREATE TRIGGER never BEFORE DELETE ON owners FOR EACH ROW EXECUTE FUNCTION pg_temp.never()")
        lending.rows(url, "DELETE FROM owners")
        assert lending.rows(url, "SELECT FROM owners") != []
        lending.empty(url)
        assert lending.rows(url, "SELECT FROM owners") == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE contacts ADD note text",
        "ALTER TABLE contacts ALTER address SET DEFAULT 'x'",
        "ALTER TABLE contacts DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE contacts DISABLE TRIGGER ALL",
        "DROP TABLE turns CASCADE",
        "CREATE TABLE public.behind (a int)",
        "CREATE SCHEMA behind",
        "CREATE INDEX behind ON contacts (address)",
        "DROP INDEX contacts_external_id",
        "DROP FUNCTION lane",
        "ALTER FUNCTION unite SECURITY DEFINER",
        "CREATE POLICY behind ON contacts USING (true)",
        "REVOKE SELECT ON contacts FROM recado_app",
        "GRANT USAGE ON SCHEMA dbos TO recado_app",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA dbos GRANT ALL ON TABLES TO recado_app",
        "ALTER SEQUENCE audit_id_seq INCREMENT 7",
        "CREATE TYPE behind AS ENUM ('a')",
        "SELECT lo_create(0)",
        # Rows that are gone would be counted by every later plan.
        "INSERT INTO owners (id, name) VALUES (uuidv7(), 'Padaria'); ANALYZE owners",
        "UPDATE schema_revision SET version_num = '0001'",
        "DELETE FROM dbos.dbos_migrations",
        'ALTER DATABASE "THIS" SET statement_timeout = 1',
        'ALTER ROLE recado_app IN DATABASE "THIS" SET statement_timeout = 1',
        'REVOKE CONNECT ON DATABASE "THIS" FROM PUBLIC',
        'ALTER DATABASE "THIS" CONNECTION LIMIT 7',
    ],
)
def test_what_is_more_than_rows_changes_what_a_database_looks_like(own: Databases, statement: str) -> None:
    with own.one() as url:
        lent = lending._LENT[url]
        conn = lent.emptying()
        with conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL search_path = recado")
            conn.execute(statement.replace("THIS", conn.info.dbname).encode())
            # The server counts changes at their commit, and there will be none.
            changed = lending._State.of(replace(lent, changes={}))
        assert changed != own._new
    with own.one() as again:
        assert again == url


def test_a_database_in_which_more_than_rows_was_changed_is_not_lent_again(own: Databases) -> None:
    assert not lent_again(own, "REVOKE SELECT ON contacts FROM recado_app")
    assert not lent_again(own, "DROP TABLE turns CASCADE")


def test_one_in_which_only_rows_and_what_is_temporary_came_and_went_is_lent_again(own: Databases) -> None:
    statements = [
        "INSERT INTO owners (id, name) VALUES (uuidv7(), 'Padaria')",
        "CREATE TEMPORARY TABLE passing (a int)",
        "CREATE FUNCTION pg_temp.passing() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ]
    assert lent_again(own, *statements)
    assert lent_again(own, "BEGIN", "DROP TABLE turns CASCADE", "ROLLBACK")


def test_what_is_changed_with_the_kept_connection_is_noticed_too(own: Databases) -> None:
    with own.one() as url:
        lending.rows(url, "ALTER TABLE contacts ADD note text")
    with own.one() as next_url:
        assert next_url != url


def test_one_that_is_worn_is_not_lent_again(own: Databases) -> None:
    rows = "INSERT INTO owners (id, name) SELECT uuidv7(), n || repeat('x', 200) FROM generate_series(1, 2000) n"
    assert not lent_again(own, rows)


def test_one_that_is_gone_or_closed_is_replaced(own: Databases, cluster: Lease) -> None:
    with own.one() as url:
        drop_database(cluster, url)
    with own.one() as closed, psycopg.connect(cluster.admin_url, autocommit=True) as conn:
        assert closed != url
        name = urlsplit(closed).path.lstrip("/")
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        conn.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
    with own.one() as another:
        assert another != closed


def test_whoever_is_still_connected_is_cut_off(own: Databases) -> None:
    with own.one() as url:
        late = psycopg.connect(url)
        late.execute("LOCK TABLE recado.owners")
    with pytest.raises(psycopg.OperationalError):
        late.execute("SELECT")
    late.close()


_ADVISORY = """
SELECT FROM pg_locks WHERE locktype = 'advisory'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def test_what_a_test_has_set_in_the_kept_connection_is_forgotten(own: Databases) -> None:
    with own.one() as url:
        lending.rows(url, "SET search_path = dbos")
        lending.rows(url, "SELECT pg_advisory_lock(1)")
    with own.one() as again:
        assert again == url
        [path] = lending.rows(url, "SHOW search_path")
        assert path == {"search_path": "recado"}
        assert lending.rows(url, _ADVISORY) == []


def test_connections_that_a_test_has_cut_off_are_made_again(own: Databases) -> None:
    with own.one() as url:
        lending.rows(url, "INSERT INTO owners (id, name) VALUES (%s, 'Padaria')", new_id())
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert len(lending.rows(url, "SELECT FROM owners")) == 1
    with own.one() as again:
        assert again == url
        assert lending.rows(url, "SELECT FROM owners") == []


def test_a_test_that_changes_the_roles_of_all_databases_is_told(own: Databases) -> None:
    with own.one() as url:
        lent = lending._LENT[url]
        state = lending._State.of(lent)
        with lent.emptying().transaction(force_rollback=True) as _, psycopg.ClientCursor(lent.emptying()) as cursor:
            cursor.execute("ALTER ROLE recado_app BYPASSRLS")
            changed = lending._State.of(lent)
            cursor.execute("ALTER ROLE recado_app NOBYPASSRLS; GRANT recado_platform TO recado_app")
            member = lending._State.of(lent)
    assert len({state.roles, changed.roles, member.roles}) == 3
    # Of one database a role's change says nothing: it is thrown away in vain.
    assert own._new is not None
    own._new, new = replace(own._new, roles="others"), own._new
    with pytest.raises(AssertionError, match="roles of all databases"), own.one():
        pass
    own._new = new
