"""What a restored database has to know of itself: which moment it is of, and which accounts may not send yet.

A message may be held because it can't be told whether it was answered before the restore (`restored`).
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own, platform_only

revision = "0041"
down_revision = "0039"
branch_labels = None
depends_on = None

_TABLES = """
-- A restore of this database: of which set, and which moment it was brought to.
CREATE TABLE restores (
    id           uuid NOT NULL PRIMARY KEY,
    set_id       uuid NOT NULL,
    moment       timestamptz NOT NULL,
    restored_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Twilio accounts for which nothing is sent or answered since the last restore, until `released_at`.
CREATE TABLE quarantine (
    owner_id     uuid NOT NULL,
    account_id   uuid NOT NULL,
    restored_at  timestamptz NOT NULL,
    -- From when on Twilio is asked what it has.
    since        timestamptz NOT NULL,
    asked_at     timestamptz,
    error        text,
    released_at  timestamptz,
    -- `asked`: Twilio's list was taken in; `unasked`: somebody released it without.
    released_by  text CHECK (released_by IN ('asked', 'unasked')),
    counts       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (owner_id, account_id, restored_at),
    CONSTRAINT quarantine_released CHECK ((released_at IS NULL) = (released_by IS NULL)),
    FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts
);
"""
_HELD_FOR = """
ALTER TABLE messages DROP CONSTRAINT messages_held_for_check, ADD CONSTRAINT messages_held_for_check CHECK (
    held_for IN (
    'people', 'limit', 'budget', 'window', 'setup', 'quota', 'look', 'loop', 'broken', 'channel', 'owner', 'opted_out',
    'restored')) NOT VALID
"""


def upgrade() -> None:
    """Add the tables and the word."""
    op.execute(_TABLES)
    platform_only(op, "restores")
    own(op, "quarantine")
    op.execute("REVOKE UPDATE, DELETE ON quarantine FROM recado_app")
    op.execute(_HELD_FOR)
