"""What the contact says counts: before what people decided for them, and after what a message of before has met."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Of anybody who said so, opted out or not: Twilio may have blocked them without our having heard of it yet.
_OPT_IN = "ALTER TABLE contacts ADD COLUMN opted_in_at timestamptz"

_HEED = """
CREATE OR REPLACE FUNCTION heed(whose uuid, message uuid, conversation uuid, identity text, action text)
RETURNS boolean LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(consent_key(whose, identity));
    IF action = 'stop' THEN
        INSERT INTO suppressions (owner_id, identity_key, reason, message_id, created_at)
        VALUES (whose, identity, 'word', message, clock_timestamp())
        ON CONFLICT (owner_id, identity_key) DO UPDATE
        SET reason = excluded.reason, message_id = excluded.message_id, created_at = excluded.created_at,
            confirmation_id = NULL
        WHERE suppressions.reason = 'people';
    ELSE
        UPDATE contacts SET opted_in_at = clock_timestamp() WHERE owner_id = whose AND identity_key = identity;
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

# Taken before the rows of the message, as a delivery does it.
_LOCK = """
CREATE FUNCTION consent_lock(whose uuid, message uuid) RETURNS text
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
DECLARE
    identity text;
BEGIN
    -- What the contact is known by stays until the commit.
    SELECT c.identity_key INTO identity FROM messages m
    JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
    JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
    WHERE m.owner_id = whose AND m.id = message FOR KEY SHARE OF c;
    PERFORM pg_advisory_xact_lock(consent_key(whose, identity));
    RETURN identity;
END $$
"""

_REFUSED = """
CREATE FUNCTION refused(whose uuid, message uuid, nth smallint, code int) RETURNS boolean
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
DECLARE
    identity text := consent_lock(whose, message);
BEGIN
    INSERT INTO suppressions (owner_id, identity_key, reason, created_at)
    SELECT whose, identity, 'twilio ' || code, clock_timestamp()
    WHERE identity IS NOT NULL AND NOT EXISTS (
        SELECT FROM contacts c WHERE c.owner_id = whose AND c.identity_key = identity AND c.opted_in_at >= coalesce(
            (SELECT max(a.started_at) FROM delivery_attempts a
             WHERE a.owner_id = whose AND a.message_id = message AND a.part = nth),
            (SELECT p.taken_at FROM message_parts p
             WHERE p.owner_id = whose AND p.message_id = message AND p.part = nth)))
    ON CONFLICT (owner_id, identity_key) DO UPDATE
    SET reason = excluded.reason, message_id = NULL, created_at = excluded.created_at, confirmation_id = NULL
    WHERE suppressions.reason = 'people';
    IF FOUND THEN
        INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id, data)
        SELECT m.owner_id, 'confirm', 'opted_out', m.conversation_id, m.id, m.correlation_id,
               jsonb_build_object('error_code', code)
        FROM messages m WHERE m.owner_id = whose AND m.id = message;
        RETURN true;
    END IF;
    RETURN false;
END $$
"""


def upgrade() -> None:
    """Replace and add the functions; who is suppressed now stays so, for the reason that is kept."""
    op.execute(_OPT_IN)
    op.execute(_HEED)
    op.execute(_LOCK)
    op.execute(_REFUSED)
