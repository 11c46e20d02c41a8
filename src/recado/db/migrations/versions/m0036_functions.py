"""Which of the functions under `db/functions` a database has, by their digests, and which recado put them there."""

from __future__ import annotations

from alembic import op

revision = "0036"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, in the row that says the schema's revision: `migrate` fills them."""
    op.execute("ALTER TABLE schema_version ADD COLUMN functions jsonb NOT NULL DEFAULT '{}', ADD COLUMN recado text")
