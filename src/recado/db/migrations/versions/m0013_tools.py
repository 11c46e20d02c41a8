"""Whether an assistant may send its owner's templates by itself."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the setting: no assistant may until its owner says so."""
    op.execute("ALTER TABLE assistants ADD COLUMN templates boolean NOT NULL DEFAULT false")
