"""A held message says what it is held for; status and kind are of the words that there are.

Until now `held` was all that was kept, and everything guessed why. What is held already gets its word from what was
recorded: the event of a limit, the turn, the delivery's error; where nothing was, from how things stand now.

The constraints are made NOT VALID, which reads no row; `migrate` validates them afterwards, one by one, while messages
come and go.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# What can't have the tables at once gives up, rather than to have every webhook wait behind it.
PATIENCE = "SET LOCAL lock_timeout = '5s'"

# Recovery looks every few seconds for what waits; what is held, it need not read. Of what is held for something that
# passes by itself `look_again_at` says when it is tried again.
COLUMN = """
ALTER TABLE messages ADD COLUMN held_for text, ADD COLUMN look_again_at timestamptz;
ALTER TABLE message_parts ADD COLUMN asked_at timestamptz;
CREATE INDEX messages_waiting ON messages (id) WHERE status IN ('received', 'queued');
CREATE INDEX messages_look_again ON messages (owner_id, conversation_id, id) WHERE look_again_at IS NOT NULL;
CREATE INDEX messages_held_for_owner ON messages (owner_id, id) WHERE held_for = 'owner';
"""

# By the index of what failed or is held, and each look-up by a key.
BACKFILL = """
UPDATE messages m SET held_for = CASE
    WHEN m.direction = 'inbound' THEN CASE
        WHEN EXISTS (SELECT FROM events e WHERE e.owner_id = m.owner_id AND e.correlation_id = m.correlation_id
                     AND e.message_id = m.id AND e.what = 'limited') THEN 'limit'
        WHEN EXISTS (SELECT FROM turns t WHERE t.owner_id = m.owner_id AND t.id = m.turn_id
                     AND t.outcome = 'budget') THEN 'budget'
        WHEN EXISTS (SELECT FROM owners o WHERE o.id = m.owner_id AND o.status <> 'active') THEN 'owner'
        WHEN EXISTS (SELECT FROM conversations v
                     JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
                     JOIN suppressions s ON s.owner_id = c.owner_id AND s.identity_key = c.identity_key
                     WHERE v.owner_id = m.owner_id AND v.id = m.conversation_id) THEN 'opted_out'
        ELSE 'people' END
    WHEN m.reason IN ('no_template', 'template_unusable', 'template_too_small') OR m.error_code = 63016 THEN 'window'
    WHEN m.reason IS NOT NULL THEN 'setup'
    ELSE coalesce((
        SELECT CASE a.error_class
            WHEN 'quota' THEN 'quota' WHEN 'configuration' THEN 'setup' WHEN 'window' THEN 'window' END
        FROM delivery_attempts a WHERE a.owner_id = m.owner_id AND a.message_id = m.id ORDER BY a.id DESC LIMIT 1),
        'look') END
WHERE m.status = 'held'
"""

CONSTRAINTS = """
ALTER TABLE messages
    ADD CONSTRAINT messages_held_for_check CHECK (held_for IN (
        'people', 'limit', 'budget', 'window', 'setup', 'quota', 'look', 'loop', 'broken', 'channel', 'owner',
        'opted_out')) NOT VALID,
    ADD CONSTRAINT messages_held_for_when_held CHECK ((status = 'held') = (held_for IS NOT NULL)) NOT VALID,
    ADD CONSTRAINT messages_status_check CHECK (status IN (
        'received', 'unrouted', 'answered', 'held', 'queued', 'accepted', 'scheduled', 'sending', 'sent', 'canceled',
        'failed', 'undelivered', 'partially_delivered', 'delivered', 'read')) NOT VALID,
    -- A kind that WhatsApp adds is kept under its own word.
    ADD CONSTRAINT messages_kind_check CHECK (kind ~ '^[a-z][a-z_-]{0,31}$') NOT VALID;
ALTER TABLE message_parts
    ADD CONSTRAINT message_parts_status_check CHECK (status IN (
        'waiting', 'accepted', 'scheduled', 'queued', 'sending', 'sent', 'canceled', 'failed', 'undelivered',
        'partially_delivered', 'delivered', 'read')) NOT VALID;
"""


def upgrade() -> None:
    """Add the column, fill it, and have the database refuse what makes no sense from now on."""
    op.execute(PATIENCE)
    op.execute(COLUMN)
    op.execute(BACKFILL)
    op.execute(CONSTRAINTS)
