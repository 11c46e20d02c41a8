"""Held messages say why: the database holds every writer to it, and its migration finds the word for what was held."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import psycopg
import pytest

from recado.conversations.holding import CAUSES, HeldFor
from recado.db.migrate import migrate
from recado.db.migrations.versions.m0022_held import BACKFILL, CONSTRAINTS
from recado.delivery.status import RANK
from tests.cli.rows import Rows

BEFORE = """
ALTER TABLE messages DROP CONSTRAINT messages_held_for_check, DROP CONSTRAINT messages_held_for_when_held,
    DROP CONSTRAINT messages_status_check, DROP CONSTRAINT messages_kind_check;
ALTER TABLE message_parts DROP CONSTRAINT message_parts_status_check;
"""


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        yield Rows.with_an_owner(conn)


def again(rows: Rows) -> None:
    """What the migration does to rows that are there."""
    rows.conn.execute(BACKFILL)
    rows.conn.execute(CONSTRAINTS)


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


def test_what_was_held_before_gets_the_word_that_its_records_say(database_url: str, rows: Rows) -> None:
    def attempt(message: Any, error_class: str) -> None:
        rows.conn.execute(
            "INSERT INTO delivery_attempts (owner_id, id, message_id, part, outcome, error_class, started_at) "
            "VALUES (%s, gen_random_uuid(), %s, 1, 'refused', %s, now())",
            [rows.owner, message, error_class],
        )

    waiting = [("waiting", None)]
    expected = {
        (limited := rows.inbound()): "limit",
        (budget := rows.inbound()): "budget",
        rows.inbound(): "people",
        rows.outbound(status="queued", error_code=63016, parts=waiting): "window",
        (late := rows.outbound(status="queued", parts=waiting)): "window",
        (unset := rows.outbound(status="queued", parts=waiting)): "setup",
        (full := rows.outbound(status="queued", error_code=63038, parts=waiting)): "quota",
        (wrong := rows.outbound(status="queued", error_code=20003, parts=waiting)): "setup",
        rows.outbound(status="queued", error_code=99999, parts=waiting): "look",
    }
    rows.conn.execute(
        "INSERT INTO events (owner_id, step, what, message_id, correlation_id) "
        "VALUES (%s, 'accept', 'limited', %s, %s)",
        [rows.owner, limited, limited],
    )
    rows.turn(budget, outcome="budget")
    rows.conn.execute("UPDATE messages SET turn_id = id WHERE id = %s", [budget])
    rows.conn.execute("UPDATE messages SET reason = 'no_template' WHERE id = %s", [late])
    rows.conn.execute("UPDATE messages SET reason = 'no_public_url' WHERE id = %s", [unset])
    attempt(full, "quota")
    attempt(wrong, "configuration")
    answered, sent = rows.inbound(), rows.outbound(status="sent", parts=waiting)
    rows.conn.execute(BEFORE)
    rows.conn.execute("UPDATE messages SET status = 'held' WHERE id = ANY(%s)", [list(expected)])
    again(rows)
    assert migrate(database_url) == []
    found = dict(rows.conn.execute("SELECT id, held_for FROM messages").fetchall())
    assert found == expected | {answered: None, sent: None}
    assert rows.conn.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated").fetchall() == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("UPDATE owners SET status = 'suspended'", "owner"),
        (
            """
            INSERT INTO suppressions (owner_id, identity_key, reason)
            SELECT owner_id, identity_key, 'word' FROM contacts
            """,
            "opted_out",
        ),
    ],
)
def test_where_nothing_was_recorded_the_word_is_how_things_stand(rows: Rows, change: str, word: str) -> None:
    message = rows.inbound()
    rows.conn.execute(change)  # type: ignore[arg-type]
    rows.conn.execute(BEFORE)
    rows.conn.execute("UPDATE messages SET status = 'held'")
    again(rows)
    assert rows.conn.execute("SELECT id, held_for FROM messages").fetchall() == [(message, word)]


def test_a_constraint_that_no_migration_came_to_validate_is_validated_by_the_next_one(
    database_url: str, rows: Rows
) -> None:
    rows.conn.execute("ALTER TABLE messages ADD CONSTRAINT c CHECK (body <> 'x') NOT VALID")
    assert migrate(database_url) == []
    assert rows.conn.execute("SELECT convalidated FROM pg_constraint WHERE conname = 'c'").fetchone() == (True,)
