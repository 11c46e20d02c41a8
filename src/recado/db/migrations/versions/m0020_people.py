"""An owner's name is the platform's to give: by it `owners add` finds an owner again."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take back what 0011 gave."""
    op.execute("REVOKE UPDATE (name) ON owners FROM recado_app")
