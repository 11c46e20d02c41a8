"""The map of personal data: every column there is stands on it, once, and what it finds is deleted in an order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg

from recado.ops.privacy.where import TABLES, Table, found_by, personal_of_contacts

_COLUMNS = """
SELECT table_schema, table_name, column_name FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
"""


def columns_of(table: Table) -> list[str]:
    return [*table.contact, *table.users, *table.none]


def test_every_column_of_every_table_is_on_one_list(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        there = Counter(conn.execute(_COLUMNS).fetchall())
    mapped = Counter((table.schema, table.name, column) for table in TABLES for column in columns_of(table))
    assert mapped == there


def test_what_is_of_contacts_is_found_or_said_why_it_stays() -> None:
    for table in personal_of_contacts():
        assert bool(table.found) != bool(table.kept), table.name
        assert table.schema == "recado" or table.copies, f"{table.name} is the engine's, and no original of anything"


def test_rows_are_found_by_columns_that_there_are_and_an_index_serves(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        indexed = {
            (table, *columns[:2])
            for table, columns in conn.execute(
                "SELECT c.relname, ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY k(n, nth) "
                "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n ORDER BY nth) "
                "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'recado'::regnamespace"
            )
        }
    for table, found in [(one, found) for one in TABLES for found in one.found]:
        assert found.by in columns_of(table)
        assert found.of == "lane" or (table.name, "owner_id", found.by) in indexed, f"{table.name}.{found.by}"


def test_what_refers_goes_before_what_it_refers_to(database_url: str) -> None:
    order = [table.name for of in ("message", "conversation", "contact") for table, _ in found_by(of)]  # type: ignore[arg-type]
    with psycopg.connect(database_url) as conn:
        keys: list[tuple[Any, ...]] = conn.execute(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint "
            "WHERE contype = 'f' AND connamespace = 'recado'::regnamespace AND conrelid <> confrelid"
        ).fetchall()
    for refers, referred in ((one.removeprefix("recado."), other.removeprefix("recado.")) for one, other in keys):
        if referred in order:
            assert refers in order, f"{refers} refers to {referred}, and is not found"
            assert order.index(refers) < len(order) - 1 - order[::-1].index(referred), f"{refers} before {referred}"


def test_what_people_wrote_is_in_no_statistics(database_url: str) -> None:
    """A sample of it would outlive its rows, in `pg_statistic`."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        sampled = {
            (schema, name, column)
            for schema, name, column in conn.execute(
                "SELECT n.nspname, c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE a.attnum > 0 AND a.attstattarget IS DISTINCT FROM 0 AND c.relkind = 'r'"
            )
        }
    words = ("body", "transcript", "parameters", "content", "text", "file_name", "url", "profile_name", "address")
    words += ("identity_key", "external_id", "output", "error", "data")
    for table in personal_of_contacts():
        for column in set(words) & set(table.contact) - ({"error"} if table.name == "turns" else set()):
            assert (table.schema, table.name, column) not in sampled, f"{table.name}.{column}"
