"""Conversations that the owner opens."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = """
-- A contact to whom the owner wrote first has not written yet.
ALTER TABLE conversations ALTER COLUMN last_inbound_at DROP NOT NULL;
"""


def upgrade() -> None:
    """Let a conversation begin without a message of the contact's."""
    op.execute(TABLES)
