"""The database's functions are the files of `db/functions`, whatever a database had before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from recado import __version__
from recado.db import functions
from recado.db.embedded import Lease
from recado.db.migrate import migrate
from recado.db.pool import connect, conninfo
from recado.db.schema import standing
from recado.db.work import QUEUE_OF
from recado.ids import new_id
from tests.db.logins import external, migrated

FILES = sorted(Path(functions.__path__[0]).glob("*.sql"))
SOURCE = Path(functions.__path__[0]).parents[1]

Conn = psycopg.Connection


@pytest.fixture
def conn(database_url: str) -> Iterator[Conn]:
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        yield conn


def body(conn: Conn, name: str) -> str:
    row = conn.execute("SELECT prosrc FROM pg_proc WHERE oid = %s::regproc", [f"recado.{name}"]).fetchone()
    assert row is not None
    return str(row[0])


OLDER = "0123456789abcdef"


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file has been another before."""
    had = {name: (OLDER, *digests) for name, digests in functions.known().items()}
    monkeypatch.setattr(functions, "known", lambda: had)


def have(conn: Conn, name: str, digest: str) -> str:
    """Let the database have the function as a file with that digest has it; its body as it was."""
    was = body(conn, name)
    conn.execute(
        "UPDATE schema_revision SET functions = jsonb_set(functions, ARRAY[%s], to_jsonb(%s::text))", [name, digest]
    )
    conn.execute(f"CREATE OR REPLACE FUNCTION {ANOTHER[name]}".encode()) if name in ANOTHER else None
    return was


ANOTHER = {"words_slot": "words_slot(whose uuid) RETURNS smallint LANGUAGE sql AS 'SELECT 1::smallint'"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_begins_with_what_its_function_promises(file: Path) -> None:
    text = file.read_text()
    promise = re.match(r"(-- \S.*\n){1,3}(?!--)", text)
    assert promise is not None
    assert re.findall(r"CREATE OR REPLACE FUNCTION (\w+)\(", text) == [file.stem]


def test_every_function_of_the_database_has_a_file_and_every_file_a_function(conn: Conn) -> None:
    there = conn.execute("SELECT proname FROM pg_proc WHERE pronamespace = 'recado'::regnamespace").fetchall()
    assert sorted(name for (name,) in there) == [file.stem for file in FILES] == list(functions.digests())
    (recorded,) = conn.execute("SELECT functions, recado FROM schema_revision").fetchall()
    assert recorded == (dict(functions.digests()), __version__)


def test_functions_in_plain_sql_name_what_is_there(conn: Conn) -> None:
    conn.execute("SET check_function_bodies = on")
    for file in FILES:
        if "LANGUAGE sql" in file.read_text():
            with conn.transaction(force_rollback=True):
                conn.execute("GRANT USAGE, CREATE ON SCHEMA recado TO recado_platform, recado_engine")
                conn.execute(file.read_bytes())


def test_nothing_that_is_stored_was_computed_by_a_function_whose_file_may_change(conn: Conn) -> None:
    """Indexes, constraints and generated columns would keep what the function said before."""
    kept = """
        SELECT p.proname, d.classid::regclass::text, d.objid FROM pg_depend d
        JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
        WHERE p.pronamespace = 'recado'::regnamespace AND (
            d.classid IN ('pg_constraint'::regclass, 'pg_class'::regclass)
            OR d.classid = 'pg_attrdef'::regclass AND EXISTS (
                SELECT FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                WHERE f.oid = d.objid AND a.attgenerated <> ''))
    """
    assert conn.execute(kept).fetchall() == []
    conn.execute("CREATE INDEX ON conversations (lane(owner_id::text, id::text))")
    assert [row[0] for row in conn.execute(kept).fetchall()] == ["lane"]


def test_every_digest_of_a_file_is_known() -> None:
    assert {name: had[-1] for name, had in functions.known().items() if name in functions.digests()} == dict(
        functions.digests()
    ), "run `make schema`"


@pytest.mark.usefixtures("older")
async def test_a_changed_file_is_applied_once_and_stops_nobody_until_then(conn: Conn, database_url: str) -> None:
    was = have(conn, "words_slot", OLDER)
    async with await connect(database_url, "recado_app") as app:
        found = await standing(app)
        assert (found.state, found.warnings) == ("current", ("functions behind: words_slot",))
        assert migrate(database_url) == ["functions: words_slot"]
        assert (await standing(app)).warnings == ()
    assert body(conn, "words_slot") == was
    assert migrate(database_url) == []


async def test_of_two_checkouts_none_puts_the_others_functions_back_unless_it_is_told_to(
    conn: Conn, database_url: str
) -> None:
    was = have(conn, "words_slot", "another")
    (said,) = migrate(database_url)
    assert said.startswith("left as another recado has them: words_slot; `recado migrate --functions`")
    assert body(conn, "words_slot") == "SELECT 1::smallint"
    async with await connect(database_url, "recado_app") as app:
        found = await standing(app)
        assert (found.serves, found.warnings) == (True, ("functions of another recado: words_slot",))
    assert migrate(database_url, own=True) == ["functions: words_slot"]
    assert body(conn, "words_slot") == was
    assert migrate(database_url) == []


@pytest.mark.usefixtures("older")
def test_a_function_that_works_under_another_role_is_replaced_by_who_owns_the_tables_alone(
    cluster: Lease, template: str
) -> None:
    with external(cluster) as settings:
        migrated(settings)
        assert settings.migrate_url is not None
        with psycopg.connect(
            settings.migrate_url.get_secret_value(), autocommit=True, options="-c search_path=recado"
        ) as conn:
            rights = (
                "SELECT proname, proowner::regrole::text, proacl::text FROM pg_proc WHERE prosecdef ORDER BY proname"
            )
            schema = "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'recado'"
            before, around = conn.execute(rights).fetchall(), conn.execute(schema).fetchone()
            was = {name: have(conn, name, OLDER) for name in ("is_own_number", "enqueue_work")}
            migrated(settings)
            assert {name: body(conn, name) for name in was} == was
            assert (conn.execute(rights).fetchall(), conn.execute(schema).fetchone()) == (before, around)
            assert conn.execute("SELECT functions FROM schema_revision").fetchone() == (dict(functions.digests()),)


def test_no_role_of_the_product_may_make_anything_in_the_schema_and_the_engine_sees_nothing_of_it(conn: Conn) -> None:
    rights = """
        SELECT role, right_ FROM unnest(ARRAY['recado_app', 'recado_platform', 'recado_engine']) role,
               unnest(ARRAY['USAGE', 'CREATE']) right_ WHERE has_schema_privilege(role, 'recado', right_)
    """
    assert set(conn.execute(rights)) == {("recado_app", "USAGE"), ("recado_platform", "USAGE")}


ENQUEUE = """
SELECT enqueue_turn(%(owner)s, %(conversation)s, %(id)s, now(), 'turn'),
       enqueue_delivery(%(owner)s, %(conversation)s, %(id)s, 'delivery'),
       enqueue_media(%(owner)s, %(conversation)s, %(id)s, now(), true, 'voice'),
       enqueue_media(%(owner)s, %(conversation)s, %(id)s, now(), false, 'media')
"""


def test_work_is_enqueued_by_the_names_that_workers_serve_in_the_lane_of_its_conversation(
    conn: Conn, database_url: str
) -> None:
    given = {"owner": new_id(), "conversation": new_id(), "id": new_id()}
    with psycopg.connect(conninfo(database_url, "recado_platform")) as platform:
        platform.execute(ENQUEUE, given)
    rows = conn.execute("SELECT name, queue_name, queue_partition_key FROM dbos.workflow_status").fetchall()
    assert {name: queue for name, queue, _ in rows} == QUEUE_OF
    assert {lane for *_, lane in rows} == {f"{given['owner']}:{given['conversation']}"}


def test_an_owner_enqueues_its_own_work_and_no_others(conn: Conn, database_url: str) -> None:
    ours, theirs = ({"owner": new_id(), "conversation": new_id(), "id": new_id()} for _ in range(2))
    with psycopg.connect(conninfo(database_url, "recado_app"), autocommit=True) as app:
        app.execute("SELECT set_config('recado.owner_id', %s, false)", [str(ours["owner"])])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(ENQUEUE, theirs)
        app.execute(ENQUEUE, ours)
    assert conn.execute("SELECT count(*) FROM dbos.workflow_status").fetchone() == (4,)


def test_sources_enqueue_by_these_functions_alone() -> None:
    for file in SOURCE.rglob("*.py"):
        assert not re.search(r"\benqueue(_work|_across)?\(|dbos\.enqueue_workflow", file.read_text()), file.name


def test_the_sql_beside_the_code_is_part_of_what_is_installed() -> None:
    from hatchling.builders.wheel import WheelBuilder

    packed = {Path(one.path) for one in WheelBuilder(str(SOURCE.parents[1])).recurse_included_files()}
    assert {*SOURCE.rglob("*.sql")} <= packed
    assert set(FILES) <= packed
