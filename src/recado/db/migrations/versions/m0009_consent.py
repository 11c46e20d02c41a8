"""Opt-outs and opt-ins: what made a suppression and what confirmed it, the owners' own words, and how one is heeded."""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
-- The message that asked for it, and the one message that may go out all the same: its confirmation.
ALTER TABLE suppressions ADD COLUMN message_id uuid, ADD COLUMN confirmation_id uuid;

CREATE TABLE consent_words (
    owner_id    uuid NOT NULL REFERENCES owners,
    id          uuid NOT NULL,
    word        text NOT NULL CHECK (word <> ''),
    action      text NOT NULL CHECK (action IN ('stop', 'start')),
    language    text CHECK (language IN ('pt', 'es', 'en')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    UNIQUE (owner_id, word)
);
"""

# A delivery shares this lock while it looks whether it may begin, an opt-out has it alone: whichever is first, no
# attempt begins after the opt-out was committed.
_LOCK = """
CREATE FUNCTION consent_key(whose uuid, identity text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashtextextended(whose::text || '/' || identity, 0)
"""

_HEED = """
CREATE FUNCTION heed(whose uuid, message uuid, conversation uuid, identity text, action text) RETURNS boolean
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(consent_key(whose, identity));
    IF action = 'stop' THEN
        INSERT INTO suppressions (owner_id, identity_key, reason, message_id, created_at)
        VALUES (whose, identity, 'word', message, clock_timestamp())
        ON CONFLICT (owner_id, identity_key) DO NOTHING;
    ELSE
        DELETE FROM suppressions WHERE owner_id = whose AND identity_key = identity;
    END IF;
    IF FOUND THEN
        INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
        VALUES (whose, 'accept', CASE action WHEN 'stop' THEN 'opted_out' ELSE 'opted_in' END,
                conversation, message, message);
        RETURN true;
    END IF;
    RETURN false;
END $$
"""


def upgrade() -> None:
    """Add what consent needs; who is suppressed now stays so."""
    op.execute(TABLES)
    op.execute(_LOCK)
    op.execute(_HEED)
    own(op, "consent_words")
