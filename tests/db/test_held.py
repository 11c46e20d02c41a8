"""Held messages say why: the database holds every writer to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import psycopg
import pytest

from recado.conversations.holding import CAUSES, HeldFor
from recado.db.migrate import migrate
from recado.delivery.status import RANK
from tests.cli.rows import Rows


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        yield Rows.with_an_owner(conn)


def words(rows: Rows, constraint: str) -> set[str]:
    """The words that the constraint lets through."""
    query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s"
    (definition,) = rows.conn.execute(query, [constraint]).fetchone() or ("",)
    return set(re.findall(r"'([a-z_]+)'", definition))


def test_the_database_knows_the_words_of_the_code_and_no_others(rows: Rows) -> None:
    assert words(rows, "messages_held_for_check") == set(CAUSES) == set(get_args(HeldFor))
    ours = {"received", "unrouted", "answered", "held", "queued", "failed"}
    assert words(rows, "messages_status_check") == ours | set(RANK)
    assert words(rows, "message_parts_status_check") == {"waiting"} | set(RANK)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'held'",
        "held_for = 'people'",
        "status = 'held', held_for = 'boredom'",
        "status = 'lost'",
        "kind = ''",
        "kind = 'Text'",
        "kind = 'a kind'",
    ],
)
def test_what_makes_no_sense_is_refused_by_the_database(rows: Rows, change: str) -> None:
    message = rows.inbound()
    with pytest.raises(psycopg.errors.CheckViolation):
        rows.conn.execute(f"UPDATE messages SET {change} WHERE id = %s", [message])  # type: ignore[arg-type]
    rows.conn.execute("UPDATE messages SET status = 'held', held_for = 'people' WHERE id = %s", [message])
    with pytest.raises(psycopg.errors.CheckViolation):
        rows.conn.execute("UPDATE messages SET status = 'answered' WHERE id = %s", [message])


def test_a_constraint_that_no_migration_came_to_validate_is_validated_by_the_next_one(
    database_url: str, rows: Rows
) -> None:
    rows.conn.execute("ALTER TABLE messages ADD CONSTRAINT c CHECK (body <> 'x') NOT VALID")
    assert migrate(database_url) == []
    assert rows.conn.execute("SELECT convalidated FROM pg_constraint WHERE conname = 'c'").fetchone() == (True,)
