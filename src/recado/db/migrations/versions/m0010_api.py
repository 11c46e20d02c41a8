"""The JSON API's writing routes: versions of accounts and numbers, a messaging service, an assignee who exists."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE twilio_accounts ADD COLUMN version int NOT NULL DEFAULT 1;
ALTER TABLE numbers
    ADD COLUMN version int NOT NULL DEFAULT 1,
    ADD COLUMN messaging_service_sid text CHECK (messaging_service_sid ~ '^MG[0-9a-fA-F]{32}$');
ALTER TABLE conversations ADD CONSTRAINT conversations_assignee
    FOREIGN KEY (owner_id, assignee) REFERENCES users (owner_id, id);
-- For the sweep of owners who don't call any more; an owner who calls sweeps their own.
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
"""


def upgrade() -> None:
    op.execute(CHANGES)
