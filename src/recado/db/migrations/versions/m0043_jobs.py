"""Jobs: what has to happen at a time, with the moment at which it is due and what its last run came to."""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import platform_only

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. A row is made for each job by the first worker that knows it."""
    op.execute(
        """
        CREATE TABLE jobs (
            name         text PRIMARY KEY CHECK (name <> ''),
            next_at      timestamptz NOT NULL,
            asked_at     timestamptz,
            holder       text,
            held_until   timestamptz,
            fence        bigint NOT NULL DEFAULT 0,
            deaths       integer NOT NULL DEFAULT 0,
            started_at   timestamptz,
            finished_at  timestamptz,
            outcome      text CHECK (outcome IN ('done', 'failed', 'too_long')),
            error        text,
            duration_ms  integer,
            failures     integer NOT NULL DEFAULT 0
        )
        """
    )
    platform_only(op, "jobs")
