"""Which of the functions under `db/functions` a database has, by their digests, and which recado put them there.

Why an attachment was not kept or not understood is found by an index whatever the reason: which of them can be cured is
said in one place, `conversations/media`, and no more in an index that a new word would make useless.
"""

from __future__ import annotations

from alembic import op

revision = "0036"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, in the row that says the schema's revision: `migrate` fills them. Replace the index."""
    op.execute("ALTER TABLE schema_version ADD COLUMN functions jsonb NOT NULL DEFAULT '{}', ADD COLUMN recado text")
    op.execute("DROP INDEX media_curable")
    op.execute("CREATE INDEX media_reason ON media (owner_id, message_id) WHERE reason IS NOT NULL")
