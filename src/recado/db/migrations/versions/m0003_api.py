"""The JSON API: kept answers for `Idempotency-Key`, a version for what two people can edit, indexes for cursors."""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE idempotency_keys (
    owner_id      uuid NOT NULL REFERENCES owners,
    id            uuid NOT NULL,
    caller_id     uuid NOT NULL,
    key_hash      bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    request_hash  bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    answer        bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    UNIQUE (owner_id, caller_id, key_hash)
);
CREATE INDEX idempotency_keys_old ON idempotency_keys (owner_id, created_at);

ALTER TABLE assistants ADD COLUMN version int NOT NULL DEFAULT 1;
CREATE INDEX conversations_contact ON conversations (owner_id, contact_id, id);
"""


def upgrade() -> None:
    op.execute(TABLES)
    own(op, "idempotency_keys")
