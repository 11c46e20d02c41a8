"""Attachments of messages, what a voice note says, and whether an assistant's model is given pictures."""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE media (
    owner_id        uuid NOT NULL REFERENCES owners,
    id              uuid NOT NULL,
    message_id      uuid,
    ordinal         smallint NOT NULL DEFAULT 0,
    url             text,
    announced_type  text NOT NULL,
    file_name       text,
    status          text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'stored', 'refused', 'failed')),
    reason          text,
    content_type    text,
    size_bytes      bigint,
    sha256          bytea,
    storage_key     text,
    duration_s      double precision,
    width           int,
    height          int,
    pages           int,
    text            text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    settled_at      timestamptz,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, message_id) REFERENCES messages
);
CREATE INDEX media_message ON media (owner_id, message_id) WHERE message_id IS NOT NULL;

ALTER TABLE messages ADD COLUMN transcript text;
ALTER TABLE messages ADD COLUMN transcript_language text;
-- True while its attachments are fetched and its voice is made text: no turn takes it before.
ALTER TABLE messages ADD COLUMN awaits_media boolean NOT NULL DEFAULT false;
CREATE INDEX messages_awaiting_media ON messages (received_at) WHERE awaits_media;

ALTER TABLE turns DROP CONSTRAINT turns_outcome_check;
ALTER TABLE turns ADD CONSTRAINT turns_outcome_check
    CHECK (outcome IN ('answered', 'keyless', 'apology', 'silent', 'budget', 'unheard'));

-- The business-scoped id of a contact, which may come without their telephone number some day, or came before it.
ALTER TABLE contacts ADD COLUMN external_id text;
CREATE INDEX contacts_external_id ON contacts (owner_id, external_id) WHERE external_id IS NOT NULL;

-- Whether the model is given pictures; null: by what is known of it.
ALTER TABLE assistants ADD COLUMN sees boolean;
"""


def upgrade() -> None:
    """Add the tables."""
    op.execute(TABLES)
    own(op, "media")
