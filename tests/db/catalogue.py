"""A migrated database as SQL, from its catalogue in a stable order: `make schema` writes `src/recado/db/schema.sql`.

Bodies of functions are left out: those are `src/recado/db/functions`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

FILE = Path(__file__).parents[2] / "src" / "recado" / "db" / "schema.sql"

HEAD = """\
-- The database that `recado migrate` makes, table by table. Made by `make schema`: don't edit.
-- What the functions say is in functions/, the tables with their whys in migrations/baseline.
"""

_RIGHTS = """
    SELECT string_agg(right_, ', ' ORDER BY right_) AS rights, who FROM (
        SELECT a.privilege_type AS right_, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS who
        FROM aclexplode({acl}) a WHERE a.grantee <> {owner}
    ) given GROUP BY who ORDER BY who
"""


def dump(url: str) -> str:
    """The schema `recado` of the database at `url`, which must be migrated."""
    with psycopg.connect(url, options="-c search_path=recado", row_factory=namedtuple_row) as conn:
        lines = "\n".join((HEAD, *_tables(conn), *_functions(conn))).split("\n")
    return "\n".join(map(_written, lines))


def _written(line: str) -> str:
    """A line as a person would write it: PostgreSQL names every cast, and spells lists of words out."""
    line = re.sub(r"::(text|regclass)(?![\w\[])", "", line).replace("timestamp with time zone", "timestamptz")
    line = re.sub(r"= ANY \(ARRAY\[([^]]*)\]\)", r"IN (\1)", line)
    line = line.replace(" USING btree", "").replace("CHECK ((", "CHECK (").replace("USING ((", "USING (")
    line = re.sub(r"(CHECK|USING) \((.*)\)\)(,|;|$)", _balanced, line)
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    if line.startswith("-- "):
        indent = "--     "
    return "\n".join(
        textwrap.wrap(line, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]
    )


def _balanced(found: re.Match[str]) -> str:
    inner = found[2]
    more = "" if inner.count("(") == inner.count(")") else ")"
    return f"{found[1]} ({inner}{more}){found[3]}"


def _tables(conn: psycopg.Connection[Any]) -> Iterator[str]:
    tables = conn.execute(
        """
        SELECT oid, relname AS name, relowner, relacl, relrowsecurity AS secured, relforcerowsecurity AS forced,
               array_to_string(reloptions, ', ') AS options
        FROM pg_class WHERE relnamespace = 'recado'::regnamespace AND relkind = 'r' ORDER BY relname
        """
    ).fetchall()
    for table in tables:
        inside = [*_columns(conn, table.oid), *_constraints(conn, table.oid)]
        ending = f") WITH ({table.options});" if table.options else ");"
        yield "\n".join((f"CREATE TABLE {table.name} (", ",\n".join(f"    {line}" for line in inside), ending))
        yield from _beside(conn, table)
        yield ""


def _columns(conn: psycopg.Connection[Any], table: int) -> list[str]:
    found = conn.execute(
        """
        SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod)
               || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation
                       ELSE '' END
               || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
               || CASE WHEN a.attidentity <> '' THEN ' GENERATED ALWAYS AS IDENTITY' ELSE '' END
               || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') AS what
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
        """,
        [table],
    ).fetchall()
    width = max(len(column.name) for column in found)
    return [f"{column.name:{width}}  {column.what}" for column in found]


def _constraints(conn: psycopg.Connection[Any], table: int) -> list[str]:
    found = conn.execute(
        r"""
        SELECT 'CONSTRAINT ' || conname || ' ' || regexp_replace(pg_get_constraintdef(oid), '\s+', ' ', 'g') AS line
        FROM pg_constraint
        WHERE conrelid = %s AND contype IN ('p', 'u', 'f', 'c', 'x')
        ORDER BY array_position('{p,u,f,c,x}', contype), conname
        """,
        [table],
    )
    return [row.line for row in found]


def _beside(conn: psycopg.Connection[Any], table: Any) -> Iterator[str]:
    """Indexes, triggers, row-level security and rights."""
    statements = """
        SELECT pg_get_indexdef(i.indexrelid) AS line, 1 AS part, i.indexrelid::regclass::text AS name FROM pg_index i
        WHERE i.indrelid = %(oid)s AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid
                                                   AND c.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT pg_get_triggerdef(oid), 2, tgname FROM pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal
        ORDER BY part, name
    """
    for row in conn.execute(statements, {"oid": table.oid}):  # type: ignore[call-overload]
        yield row.line.replace("recado.", "") + ";"
    if table.secured:
        yield f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY" + (
            f"; ALTER TABLE {table.name} FORCE ROW LEVEL SECURITY;" if table.forced else ";"
        )
    policies = conn.execute(
        "SELECT * FROM pg_policies WHERE schemaname = 'recado' AND tablename = %s ORDER BY policyname", [table.name]
    )
    for policy in policies:
        how = f" AS {policy.permissive}" if policy.permissive != "PERMISSIVE" else ""
        how += f" FOR {policy.cmd}" if policy.cmd != "ALL" else ""
        check = f" WITH CHECK ({policy.with_check})" if policy.with_check else ""
        roles = ", ".join(policy.roles)
        yield f"CREATE POLICY {policy.policyname} ON {table.name}{how} TO {roles} USING ({policy.qual}){check};"
    yield from _grants(conn, "pg_class c", "c.relacl", "c.relowner", table.oid, table.name)
    columns = conn.execute(
        "SELECT attname AS name, attnum FROM pg_attribute WHERE attrelid = %s AND attacl IS NOT NULL ORDER BY attnum",
        [table.oid],
    ).fetchall()
    for column in columns:
        given = _RIGHTS.format(
            acl=f"(SELECT attacl FROM pg_attribute WHERE attrelid = {table.oid} AND attnum = {column.attnum})",
            owner=table.relowner,
        )
        for row in conn.execute(given).fetchall():  # type: ignore[call-overload]
            yield f"GRANT {row.rights} ({column.name}) ON {table.name} TO {row.who};"


def _grants(conn: psycopg.Connection[Any], catalogue: str, acl: str, owner: str, oid: int, name: str) -> Iterator[str]:
    alias = catalogue.split()[1]
    given = _RIGHTS.format(
        acl=f"(SELECT {acl} FROM {catalogue} WHERE {alias}.oid = {oid})",
        owner=f"(SELECT {owner} FROM {catalogue} WHERE {alias}.oid = {oid})",
    )
    for row in conn.execute(given).fetchall():  # type: ignore[call-overload]
        yield f"GRANT {row.rights} ON {name} TO {row.who};"


def _functions(conn: psycopg.Connection[Any]) -> Iterator[str]:
    found = conn.execute(
        """
        SELECT oid, proname AS name, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result,
               prosecdef AS definer, proowner::regrole::text AS owner, oid::regprocedure::text AS called,
               proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) a WHERE a.grantee = 0) AS everybody
        FROM pg_proc WHERE pronamespace = 'recado'::regnamespace ORDER BY proname, called
        """
    ).fetchall()
    for one in found:
        works = f"; works as {one.owner}" if one.definer else ""
        yield f"-- functions/{one.name}.sql: {one.name}({one.arguments}) RETURNS {one.result}{works}"
        if not one.everybody:
            yield f"REVOKE ALL ON FUNCTION {one.called} FROM PUBLIC;"
            yield from _grants(conn, "pg_proc p", "p.proacl", "p.proowner", one.oid, f"FUNCTION {one.called}")
    sequences = conn.execute(
        "SELECT oid, relname AS name FROM pg_class WHERE relnamespace = 'recado'::regnamespace AND relkind = 'S' "
        "ORDER BY relname"
    ).fetchall()
    yield ""
    for sequence in sequences:
        yield f"CREATE SEQUENCE {sequence.name};"
        yield from _grants(conn, "pg_class c", "c.relacl", "c.relowner", sequence.oid, f"SEQUENCE {sequence.name}")
    yield ""


def main() -> None:
    """Write the file, from a database of a cluster of its own."""
    import os
    import tempfile

    from recado.db import embedded, functions
    from recado.db.cluster import SUPERUSER
    from recado.db.migrate import migrate
    from tests.postgres import create_database

    with tempfile.TemporaryDirectory(prefix="recado-schema-", ignore_cleanup_errors=True) as home:
        os.chmod(home, 0o755)
        with embedded.acquire(Path(home) / "h", durable=False) as lease:
            with psycopg.connect(lease.admin_url, autocommit=True) as conn:
                conn.execute(
                    psycopg.sql.SQL("ALTER ROLE postgres PASSWORD {}").format(
                        psycopg.sql.Literal(lease.password(SUPERUSER))
                    )
                )
            url = create_database(lease)
            migrate(url)
            FILE.write_text(dump(url), encoding="utf-8")
            functions.write_known()
        embedded.wait_until_stopped(Path(home) / "h")


if __name__ == "__main__":
    main()
