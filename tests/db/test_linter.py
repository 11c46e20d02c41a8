"""A linter reads the SQL of each migration after the baseline: none locks for long, or breaks who runs meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import Script

from recado.db import migrate as migrating
from recado.db.embedded import Lease
from recado.db.schema import BASELINE
from tests.postgres import create_database, drop_database

SQUAWK = Path(sys.executable).with_name("squawk")
#: Rules that don't fit how these migrations are made, and why.
EXCLUDED = {
    "prefer-robust-stmts": "a migration is one transaction: what fails has done nothing; IF NOT EXISTS would hide it",
    "require-concurrent-index-creation": "CONCURRENTLY can't be in a transaction; a large table's index is built apart",
    "require-concurrent-index-deletion": "the same; dropping takes a moment",
    "prefer-bigint-over-int": "numbers here are counts with bounds of their own",
    "prefer-bigint-over-smallint": "the same",
    "prefer-identity": "no new serial columns",
    "require-timeout-settings": "`recado.db.migrate` sets lock_timeout for each transaction",
}
#: What a migration does in spite of a rule, and why that stops nobody: revision and rule.
ALLOWED: dict[tuple[str, str], str] = {
    ("0041", "ban-drop-constraint"): "the same statement adds it again with one word more, not validated: a moment",
}


def squawk(sql: str) -> list[dict[str, Any]]:
    """What the linter says of it."""
    done = subprocess.run(
        [
            SQUAWK,
            *("--reporter", "json", "--assume-in-transaction", "--pg-version", "15.0"),
            *("--stdin-filepath", "migration.sql", "--exclude", ",".join(EXCLUDED)),
        ],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def executed(cluster: Lease, monkeypatch: pytest.MonkeyPatch) -> Iterable[dict[str, list[str]]]:
    """The statements of each migration, in order, as PostgreSQL is given them; Alembic's own apart."""
    found: dict[str, list[str]] = defaultdict(list)
    upgrade = migrating._upgrade

    def upgrade_noted(conn: sa.Connection, *, config: Config, script: Script) -> None:
        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            if "schema_revision SET" not in statement and "INTO recado.schema_revision" not in statement:
                # A value that is given apart is as long as any other for who only reads the statement.
                found[script.revision].append(re.sub(r"%\(\w+\)s(::\w+)?", "NULL", statement.strip().rstrip(";")))

        sa.event.listen(conn, "before_cursor_execute", note)
        try:
            upgrade(conn, config=config, script=script)
        finally:
            sa.event.remove(conn, "before_cursor_execute", note)

    monkeypatch.setattr(migrating, "_upgrade", upgrade_noted)
    url = create_database(cluster)
    engine = migrating.engine(url)
    try:
        migrating._prepare(engine, None, None)
        migrating._to_head(engine, own=False)
        yield found
    finally:
        engine.dispose()
        drop_database(cluster, url)


def test_no_migration_after_the_baseline_breaks_or_holds_up_who_runs_meanwhile(executed: dict[str, list[str]]) -> None:
    later = {revision: texts for revision, texts in executed.items() if revision > BASELINE}
    assert len(later) >= 2
    said = {}
    for revision, texts in later.items():
        for one in squawk(";\n".join(texts) + ";\n"):
            said[revision, one["rule_name"]] = one
    unexplained = {key: one for key, one in said.items() if key not in ALLOWED}
    assert unexplained == {}, "change it, or say in ALLOWED why it stops nobody"
    assert set(ALLOWED) <= set(said), "no longer needed"


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("ALTER TABLE messages DROP COLUMN body;", "ban-drop-column"),
        ("ALTER TABLE messages RENAME COLUMN body TO words;", "renaming-column"),
        ("ALTER TABLE messages ALTER COLUMN part TYPE bigint;", "changing-column-type"),
        ("ALTER TABLE messages ADD COLUMN tone text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE messages ALTER COLUMN body SET NOT NULL;", "adding-not-nullable-field"),
        ("ALTER TABLE messages ADD CONSTRAINT c CHECK (part > 0);", "constraint-missing-not-valid"),
        ("DROP TABLE messages;", "ban-drop-table"),
    ],
)
def test_the_linter_says_no_to_what_would(sql: str, rule: str) -> None:
    assert rule in {one["rule_name"] for one in squawk(sql)}
