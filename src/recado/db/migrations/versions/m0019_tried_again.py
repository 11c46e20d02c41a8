"""What came with a message and may be tried again is found among all that came: `recado failed list` asks for it."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

INDEX = """
CREATE INDEX media_curable ON media (owner_id, message_id) WHERE reason IN (
    'no_model', 'no_transcriber', 'over_budget', 'unavailable', 'slow', 'format',
    'login', 'account', 'failing', 'storage', 'late')
"""


def upgrade() -> None:
    """Add the index."""
    op.execute(INDEX)
