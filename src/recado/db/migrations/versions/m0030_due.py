"""What is to be tried again is found by when it is due, not by reading all that waits."""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index: without it each round read every held message that has a time, 21 ms at 20,000."""
    op.execute("CREATE INDEX messages_due ON messages (look_again_at) WHERE look_again_at IS NOT NULL")
