"""Owners apart: no statement of the application's role reaches a row of an owner whom it did not name.

The tables, policies, foreign keys and functions are those of the catalogue, so that a new one is walked too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors, sql

from recado.channels.twilio.directory import Directory
from recado.db.embedded import Lease
from recado.db.pool import conninfo, open_pool
from recado.db.secrets import keyring
from recado.wiring import Database, database
from tests.conftest import SECRET_KEYS
from tests.db.logins import at_home, external, migrated
from tests.db.owned_rows import ROWS, Conn, Tenant, insert, settle
from tests.lending import Databases

#: Tables without an owner, and what of them the application's role may do.
OWNERLESS = {
    "executor_deaths": set[str](),
    "executors": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "jobs": set[str](),
    "password_salts": set[str](),
    "plans": {"SELECT"},
    "restores": set[str](),
    "schema_revision": {"SELECT"},
    "schema_version": {"SELECT"},
    "sign_in_failures": set[str](),
    "workflow_versions": set[str](),
}
#: Columns that name a row and have no key: what they name may be removed before them, or is of several tables.
UNHELD = {
    *(("audit", "caller_id"), ("events", "conversation_id"), ("events", "message_id")),
    *(
        ("idempotency_keys", "caller_id"),
        # Written by triggers of `knowledge` alone; it goes with the entry, which a key would look for without an index.
        ("knowledge_places", "entry_id"),
        ("invitations", "invited_by_id"),
        ("invitations", "user_id"),
        ("api_keys", "made_by_id"),
        ("suppressions", "message_id"),
        # An erased person's are there no more, and their erasure names them.
        ("contacts", "erasure_id"),
        ("contacts", "same_as"),
        ("erasure_items", "account_id"),
        ("restores", "set_id"),
        ("suppressions", "confirmation_id"),
        ("webhook_waiting", "lane"),  # of what happened in no conversation it is zero
    ),
}
#: What looks across owners on purpose: to find whose an AccountSid, a key or a session is and that it is alive, to
#: count a part when it was sent and a file when it is kept, to take an account from who only claimed it, to tell
#: whether an administrator is one, and an address's salt; to count workers' deaths, and to tell whether a contact is a
#: number of this installation, which says nothing of whose.
DEFINERS = {
    "executor_deaths_since(timestamp with time zone)",
    "is_own_number(text)",
    "account_by_sid(text)",
    "administrator_stands(uuid)",
    "count_stored()",
    "lose_unproven_account(text,timestamp with time zone)",
    "prove_numbers(uuid,text[],text[],timestamp with time zone)",  # a number is whose Twilio says last
    "forget_proof()",  # a trigger, of the account that is removed
    "password_salt(text)",
    "api_key_by_hash(bytea)",
    "meter_part()",
    "session_by_hash(bytea)",
    "session_seen(bytea,timestamp with time zone)",
}
#: What has the workflow engine do something: to enqueue work, to tell whether there is some, and to erase a person's.
ENGINES = {
    "erase_work(text[],boolean)",
    "enqueue_across(text,text,json[],text,text)",
    "enqueue_work(text,text,json[],text,text)",
    "has_work(text)",
    "work_stands()",  # counts, of no owner
    "work_waits(text[],integer)",
}


@dataclass(frozen=True, slots=True)
class Street:
    """Two owners next to each other, each with a row in every table; `app` is the application's connection."""

    app: Conn
    ours: Tenant
    theirs: Tenant

    def name(self, owner_id: UUID | None) -> None:
        """Say whose rows are meant from here on."""
        self.app.execute("SELECT set_config('recado.owner_id', %s, true)", [str(owner_id) if owner_id else ""])


@pytest.fixture(scope="module")
def _url(databases: Databases) -> Iterator[str]:
    with databases.one() as url:
        yield url


@pytest.fixture(scope="module")
def _tenants(_url: str) -> tuple[Tenant, Tenant]:
    with psycopg.connect(_url, options="-c search_path=recado") as conn:
        return settle(conn), settle(conn)


@pytest.fixture
def street(_url: str, _tenants: tuple[Tenant, Tenant]) -> Iterator[Street]:
    """The two owners; a test's transaction is rolled back."""
    with psycopg.connect(conninfo(_url, "recado_app")) as conn:
        yield Street(conn, *_tenants)
        conn.rollback()


@pytest.fixture
def catalogue(_url: str) -> Iterator[Conn]:
    with psycopg.connect(_url) as conn:
        yield conn


def column(table: str) -> sql.Identifier:
    return sql.Identifier("id" if table == "owners" else "owner_id")


def statement(text: str, table: str) -> sql.Composed:
    return sql.SQL(text).format(table=sql.Identifier(table), owner=column(table))  # type: ignore[arg-type]


def refused_or_nothing(conn: Conn, what: sql.Composed, *parameters: object) -> bool:
    """Whether the role may not say this at all, or it touched no row."""
    try:
        with conn.transaction():
            return conn.execute(what, parameters).rowcount == 0
    except errors.InsufficientPrivilege:
        return True


@pytest.mark.parametrize("table", ROWS)
def test_another_owners_rows_are_neither_seen_nor_changed_nor_made(street: Street, table: str) -> None:
    app, ours, theirs = street.app, street.ours, street.theirs
    street.name(ours.id)
    mine = app.execute(statement("SELECT DISTINCT {owner} FROM {table}", table)).fetchall()
    assert mine == [(ours.id,)]
    assert refused_or_nothing(
        app, statement("UPDATE {table} SET {owner} = {owner} WHERE {owner} = %s", table), theirs.id
    )
    assert refused_or_nothing(app, statement("DELETE FROM {table} WHERE {owner} = %s", table), theirs.id)
    assert refused_or_nothing(app, statement("SELECT FROM {table} WHERE {owner} = %s FOR UPDATE", table), theirs.id)
    with pytest.raises(errors.InsufficientPrivilege), app.transaction():
        insert(app, table, theirs.fresh(table))
    with pytest.raises((errors.InsufficientPrivilege, errors.ForeignKeyViolation)), app.transaction():
        app.execute(statement("UPDATE {table} SET {owner} = %s", table), [theirs.id])


@pytest.mark.parametrize("table", ROWS)
def test_without_an_owner_named_there_is_nothing(street: Street, table: str) -> None:
    for nobody in (None, uuid4()):
        street.name(nobody)
        assert street.app.execute(statement("SELECT count(*) FROM {table}", table)).fetchone() == (0,)
        assert refused_or_nothing(street.app, statement("DELETE FROM {table}", table))
        with pytest.raises(errors.InsufficientPrivilege), street.app.transaction():
            insert(street.app, table, street.ours.fresh(table))


def test_a_row_without_an_owner_is_the_platforms_alone(street: Street, catalogue: Conn) -> None:
    found = catalogue.execute(
        """
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'recado'::regnamespace AND c.relkind = 'r' AND a.attname = 'owner_id'
          AND NOT a.attnotnull
        """
    ).fetchall()
    ownerless = {table for [table] in found}
    assert ownerless == {"audit", "idempotency_keys", "invitations", "known_browsers", "sessions", "users"}
    for table in ownerless:
        fresh = street.ours.fresh(table)
        row = fresh | {"owner_id": None} | ({"role": "admin"} if "role" in fresh else {})
        with catalogue.transaction(force_rollback=True):
            catalogue.execute("SET LOCAL search_path = recado")
            assert insert(catalogue, table, row) == 1
            catalogue.execute("SET LOCAL ROLE recado_app")
            for named in (str(street.ours.id), ""):
                catalogue.execute("SELECT set_config('recado.owner_id', %s, true)", [named])
                seen = statement("SELECT count(*) FROM {table} WHERE {owner} IS NULL", table)
                assert catalogue.execute(seen).fetchone() == (0,), table
                with pytest.raises(errors.InsufficientPrivilege), catalogue.transaction():
                    insert(catalogue, table, row | ({"id": uuid4()} if "id" in row else {}))


@pytest.mark.parametrize("table", sorted(set(ROWS) - {"owners"}))
def test_no_row_can_point_at_a_row_of_another_owner(street: Street, catalogue: Conn, table: str) -> None:
    street.name(street.ours.id)
    with street.app.transaction(force_rollback=True):
        assert insert(street.app, table, street.ours.fresh(table)) == 1, "pointing at its own owner's rows it is fine"
    for target, pairs in references(catalogue, table):
        row = street.ours.fresh(table)
        pointing = {ours: street.theirs.rows[target][there] for ours, there in pairs if ours != "owner_id"}
        if not pointing:
            continue  # at the owner itself
        with pytest.raises(errors.ForeignKeyViolation), street.app.transaction():
            insert(street.app, table, row | pointing)


def references(catalogue: Conn, table: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The table's foreign keys to owners' tables: the table that each points at, and its pairs of columns."""
    found = catalogue.execute(
        """
        SELECT f.confrelid::regclass::text, array_agg(ARRAY[a.attname, b.attname]::text[])
        FROM pg_constraint f
        CROSS JOIN LATERAL unnest(f.conkey, f.confkey) AS k(here, there)
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.here
        JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = k.there
        WHERE f.contype = 'f' AND f.conrelid = to_regclass('recado.' || %s) GROUP BY f.oid, f.confrelid
        """,
        [table],
    ).fetchall()
    named = [(target.removeprefix("recado."), [(pair[0], pair[1]) for pair in pairs]) for target, pairs in found]
    return [(target, pairs) for target, pairs in named if target in ROWS]


def test_every_foreign_key_between_owners_tables_carries_the_owner(catalogue: Conn) -> None:
    seen = 0
    for table in ROWS:
        found = references(catalogue, table)
        for target, pairs in found:
            seen += 1
            carrying = {*pairs, ("owner_id", "id" if target == "owners" else "owner_id")}
            # A key without the owner is fine beside one with it: a row without an owner is held to the first only.
            assert any(target == other and set(more) == carrying for other, more in found), f"{table} -> {target}"
    assert seen > 20


def test_every_id_that_names_a_row_is_held_by_a_key_or_known_not_to_be(catalogue: Conn) -> None:
    found = catalogue.execute(
        """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'recado'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
          AND a.atttypid = 'uuid'::regtype AND a.attname NOT IN ('id', 'correlation_id')
          AND NOT EXISTS (SELECT FROM pg_constraint f
                          WHERE f.contype = 'f' AND f.conrelid = c.oid AND a.attnum = ANY(f.conkey))
        """
    ).fetchall()
    assert set(found) == UNHELD


def test_every_table_with_an_owner_is_walked_and_the_others_are_known(catalogue: Conn) -> None:
    found = catalogue.execute(
        """
        SELECT c.relname, c.relkind::text, EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'owner_id' AND NOT a.attisdropped)
        FROM pg_class c WHERE c.relnamespace = 'recado'::regnamespace AND c.relkind NOT IN ('i', 'I', 'S', 'c')
        """
    ).fetchall()
    assert {kind for _, kind, _ in found} == {"r"}, "views and the like see what their owner may see"
    assert {name for name, _, owned in found if owned} == set(ROWS) - {"owners"}
    assert {name for name, _, owned in found if not owned} == {*OWNERLESS, "owners"}


def test_a_table_without_an_owner_gives_the_application_no_more_than_it_needs(catalogue: Conn) -> None:
    for table, rights in OWNERLESS.items():
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
            answer = catalogue.execute("SELECT has_table_privilege('recado_app', %s, %s)", [f"recado.{table}", right])
            assert answer.fetchone() == (right in rights,), f"{table}: {right}"


def test_the_application_can_not_empty_watch_or_lock_out_an_owners_table(catalogue: Conn) -> None:
    for table in ROWS:
        for right in ("TRUNCATE", "REFERENCES", "TRIGGER"):
            answer = catalogue.execute("SELECT has_table_privilege('recado_app', %s, %s)", [f"recado.{table}", right])
            assert answer.fetchone() == (False,), f"{table}: {right}"


def test_every_policy_is_one_of_the_two(catalogue: Conn) -> None:
    found = catalogue.execute(
        "SELECT tablename, policyname, permissive, roles::text, cmd, qual, with_check FROM pg_policies "
        "WHERE schemaname = 'recado'"
    ).fetchall()
    named = """( SELECT (NULLIF(current_setting('recado.owner_id'::text, true), ''::text))::uuid AS "nullif")"""
    expected = set()
    for table in ROWS:
        mine = f"({'id' if table == 'owners' else 'owner_id'} = {named})"
        expected.add((table, "owner_only", "PERMISSIVE", "{recado_app}", "ALL", mine, None))
        expected.add((table, "platform", "PERMISSIVE", "{recado_platform}", "ALL", "true", None))
    # What narrows them: the audit is deleted by what goes across owners alone, and only once it is old.
    old = "(at < (clock_timestamp() - '30 days'::interval))"
    expected.add(("audit", "old_only", "RESTRICTIVE", "{recado_platform}", "DELETE", old, None))
    assert set(found) == expected


def test_functions_that_look_across_owners_are_few_and_look_nowhere_else(catalogue: Conn) -> None:
    found = catalogue.execute(
        """
        SELECT p.oid::regprocedure::text, p.proconfig, p.proowner::regrole::text,
               has_function_privilege('public', p.oid, 'EXECUTE')
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        """
    ).fetchall()
    assert {name.removeprefix("recado.") for name, *_ in found} == DEFINERS | ENGINES
    for name, settings, owner, public in found:
        assert settings == ["search_path=recado, pg_temp"], name
        expected = "recado_engine" if name.removeprefix("recado.") in ENGINES else "recado_platform"
        assert (owner, public) == (expected, False), name


def test_the_application_can_neither_read_nor_write_any_table_of_the_workflow_engine(catalogue: Conn) -> None:
    """Their rows, and what a contact was answered among them, are of all owners."""
    found = catalogue.execute(
        """
        SELECT c.relname, c.relkind::text,
               has_any_column_privilege('recado_app', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
               OR has_table_privilege('recado_app', c.oid, 'DELETE, TRUNCATE, TRIGGER'),
               has_any_column_privilege('recado_platform', c.oid, 'INSERT, UPDATE, REFERENCES')
               OR has_table_privilege('recado_platform', c.oid, 'SELECT, DELETE, TRUNCATE, TRIGGER'),
               ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
                     AND NOT a.attisdropped AND has_column_privilege('recado_platform', c.oid, a.attnum, 'SELECT'))
        FROM pg_class c WHERE c.relnamespace = 'dbos'::regnamespace AND c.relkind NOT IN ('i', 'I', 'S', 'c')
        """
    ).fetchall()
    assert {"workflow_status", "workflow_input", "operation_outputs"} <= {name for name, *_ in found}
    assert [name for name, _, app, *_ in found if app] == []
    assert [name for name, _, _, platform, _ in found if platform] == []
    # Where a workflow stands, not what is in it.
    assert {name: set(seen) for name, *_, seen in found if seen} == {
        "workflow_status": {
            *("workflow_uuid", "name", "status", "queue_name", "queue_partition_key", "executor_id"),
            *("created_at", "started_at_epoch_ms"),
        }
    }
    assert catalogue.execute("SELECT has_schema_privilege('recado_app', 'dbos', 'USAGE')").fetchone() == (False,)
    assert catalogue.execute(
        "SELECT count(*) FROM pg_default_acl, aclexplode(defaclacl) WHERE grantee = 'recado_app'::regrole"
    ).fetchone() == (0,)


ENQUEUE = "SELECT enqueue_work(%s, %s, %s::json[], %s, 'lane')"


def test_work_is_enqueued_for_the_owner_that_was_named(street: Street) -> None:
    street.name(street.ours.id)
    mark = str(uuid4())
    [[made]] = street.app.execute(
        ENQUEUE, ["process_ai_response", "turns", [f'"{street.ours.id}"', '"x"'], mark]
    ).fetchall()
    assert made == mark
    assert street.app.execute("SELECT has_work(%s), has_work('nothing')", [mark]).fetchone() == (True, False)


@pytest.mark.parametrize(
    ("name", "queue", "args"),
    [
        ("process_ai_response", "turns", '{{"\\"{theirs}\\""}}'),
        # The engine reads the array from its beginning, wherever that is.
        ("process_ai_response", "turns", '[0:1]={{"\\"{theirs}\\"","\\"{ours}\\""}}'),
        ("process_ai_response", "turns", "{{}}"),
        ("process_ai_response", "turns", None),
        ("process_ai_response", "deliveries", '{{"\\"{ours}\\""}}'),
        ("<temp>.anything", "turns", '{{"\\"{ours}\\""}}'),
        ("process_ai_response", "_dbos_internal_queue", '{{"\\"{ours}\\""}}'),
        (None, "turns", '{{"\\"{ours}\\""}}'),
    ],
)
def test_no_work_is_enqueued_for_another_owner_and_none_that_is_not_ours(
    street: Street, name: str | None, queue: str, args: str | None
) -> None:
    street.name(street.ours.id)
    given = args and args.format(ours=street.ours.id, theirs=street.theirs.id)
    with pytest.raises(errors.InsufficientPrivilege):
        street.app.execute(ENQUEUE, [name, queue, given, str(uuid4())])


def test_without_an_owner_named_no_work_is_enqueued(street: Street) -> None:
    for nobody in ('{"\\"x\\""}', "{}", "{null}"):
        street.name(None)
        with pytest.raises(errors.InsufficientPrivilege), street.app.transaction():
            street.app.execute(ENQUEUE, ["process_ai_response", "turns", nobody, str(uuid4())])


@pytest.fixture(scope="module", params=["embedded", "external"])
def own(request: pytest.FixtureRequest, cluster: Lease, template: str) -> Iterator[Database]:
    """The product's own database and logins, at home and as in production; the latter once had one login for all."""
    if request.param == "embedded":
        with at_home() as settings, database(settings) as there:
            yield there
        return
    with external(cluster) as settings:
        migrated(settings.model_copy(update={"platform_url": None}))
        migrated(settings)
        with database(settings) as there:
            yield there


@pytest.fixture
def intruder(own: Database) -> Iterator[Conn]:
    """Whoever can have a statement of theirs run on the application's own connection, before any owner is named."""
    with psycopg.connect(conninfo(own.url, "recado_app")) as conn:
        yield conn


@pytest.mark.parametrize(
    "attempt",
    [
        "SET ROLE recado_platform",
        "SELECT set_config('role', 'recado_platform', false)",
        "SET ROLE recado_engine",
        "SELECT set_config('role', 'recado_engine', false)",
        "SELECT * FROM dbos.workflow_status",
        "UPDATE dbos.operation_outputs SET output = ''",
        "SELECT dbos.enqueue_workflow('process_ai_response', 'turns')",
        "SELECT enqueue_work('process_ai_response', 'turns', ARRAY[]::json[], 'x')",
        "SELECT enqueue_work('process_ai_response', 'turns', ARRAY[to_json(''::text)], 'x')",
        "SELECT enqueue_across('process_ai_response', 'turns', ARRAY[to_json(1)], 'x')",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION recado_platform",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY owner_only ON messages",
        "CREATE POLICY mine ON messages TO recado_app USING (true)",
        "ALTER ROLE recado_app BYPASSRLS",
        "GRANT recado_platform TO recado_app",
        "CREATE FUNCTION recado.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION recado.meter_part() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TABLE recado.mine (id int)",
        "CREATE VIEW recado.mine AS SELECT 1",
        "CREATE SCHEMA mine",
        "CREATE TRIGGER mine AFTER INSERT ON messages EXECUTE FUNCTION meter_part()",
        "TRUNCATE messages",
        "UPDATE owners SET status = 'active'",
        "INSERT INTO plans (id, name) VALUES (gen_random_uuid(), 'free')",
        "SELECT * FROM sign_in_failures",
        "UPDATE events SET what = 'nothing'",
        "DELETE FROM audit",
        "DELETE FROM events",
        "DELETE FROM erasures",
        "UPDATE erasures SET identity_hashes = '{}'",
        "UPDATE erasure_keys SET sealed = ''",
        "SELECT erase_work(ARRAY['x'], true)",
        "COPY messages TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_applications_role_has_no_way_around(intruder: Conn, attempt: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        intruder.execute(attempt)  # type: ignore[arg-type]


def test_what_goes_across_owners_has_a_login_that_may(own: Database) -> None:
    with psycopg.connect(conninfo(own.platform_url, "recado_platform")) as conn:
        assert conn.execute("SELECT current_user, session_user <> current_user").fetchone() == ("recado_platform", True)
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute("SET ROLE recado_app")


async def test_a_secret_copied_from_another_owners_row_opens_nothing_not_even_under_the_same_id(own: Database) -> None:
    """Webhooks must find an account before its owner is known, so its sealed tokens can be read: and are of no use."""
    ring = keyring([SECRET_KEYS])
    ours, theirs, account = uuid4(), uuid4(), uuid4()
    sids = {owner: "AC" + uuid4().hex for owner in (ours, theirs)}
    sealed = ring.seal("their token", owner_id=theirs, row=f"twilio_accounts/{account}/auth_token")
    with psycopg.connect(conninfo(own.platform_url, "recado_platform")) as conn:
        for owner in (ours, theirs):
            conn.execute("INSERT INTO owners (id, name) VALUES (%s, %s)", [owner, str(owner)])
        _add_account(conn, theirs, account, sids[theirs], sealed)
    with psycopg.connect(conninfo(own.url, "recado_app")) as conn:
        conn.execute("SELECT set_config('recado.owner_id', %s, true)", [str(ours)])
        [copied] = conn.execute("SELECT auth_token FROM account_by_sid(%s)", [sids[theirs]]).fetchall()
        _add_account(conn, ours, account, sids[ours], copied[0])
    async with open_pool(own.url, "recado_app", size=1) as pool:
        directory = Directory(pool, ring)
        rightful, moved = await directory.account(sids[theirs]), await directory.account(sids[ours])
    assert rightful is not None
    assert rightful.tokens == ("their token",)
    assert moved is not None
    assert (moved.tokens, moved.unreadable is not None) == ((), True)


def _add_account(conn: Conn, owner: UUID, account: UUID, sid: str, sealed: bytes) -> None:
    insert(conn, "twilio_accounts", {"owner_id": owner, "id": account, "account_sid": sid, "auth_token": sealed})


def test_turning_row_security_off_refuses_the_query_instead_of_showing_all(intruder: Conn) -> None:
    intruder.execute("SET row_security = off")
    with pytest.raises(errors.InsufficientPrivilege):
        intruder.execute("SELECT * FROM messages")


def test_the_roles_are_members_of_nothing_and_own_no_table_schema_or_database(catalogue: Conn) -> None:
    for role in ("recado_app", "recado_platform", "recado_engine"):
        found = catalogue.execute(
            """
            SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin,
                   EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid),
                   EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid),
                   EXISTS (SELECT FROM pg_namespace n WHERE n.nspowner = r.oid),
                   EXISTS (SELECT FROM pg_database d WHERE d.datdba = r.oid)
            FROM pg_roles r WHERE rolname = %s
            """,
            [role],
        ).fetchone()
        assert found is not None
        assert not any(found), f"{role}: {found}"
    mine = catalogue.execute("SELECT count(*) FROM pg_proc WHERE proowner = 'recado_app'::regrole").fetchone()
    assert mine == (0,)
