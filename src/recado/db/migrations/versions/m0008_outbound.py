"""What goes out beyond text: attachments, buttons, lists and templates, and what to do when the window is closed."""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
-- What an outbound message is when it is not just its body, and what of that a part posts.
ALTER TABLE messages ADD COLUMN content jsonb;
ALTER TABLE message_parts ADD COLUMN content jsonb;
-- A word for why an outbound message is held or failed where Twilio's code does not say it.
ALTER TABLE messages ADD COLUMN reason text;
-- The template that carries a reply when the 24 hours are over: {"content_sid", "variables": {name: text}}.
ALTER TABLE assistants ADD COLUMN fallback_template jsonb;

-- Buttons and lists that Twilio has as Content, so that the same ones are made there once.
CREATE TABLE contents (
    owner_id     uuid NOT NULL,
    id           uuid NOT NULL,
    account_id   uuid NOT NULL,
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32),
    content_sid  text NOT NULL CHECK (content_sid ~ '^HX[0-9a-fA-F]{32}$'),
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts,
    UNIQUE (owner_id, account_id, hash)
);

CREATE TABLE templates (
    owner_id          uuid NOT NULL,
    id                uuid NOT NULL,
    account_id        uuid NOT NULL,
    content_sid       text NOT NULL CHECK (content_sid ~ '^HX[0-9a-fA-F]{32}$'),
    name              text NOT NULL,
    language          text NOT NULL,
    category          text,
    status            text NOT NULL,
    rejection_reason  text,
    content_type      text NOT NULL,
    body              text NOT NULL,
    variables         text[] NOT NULL,
    synced_at         timestamptz NOT NULL,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts,
    UNIQUE (owner_id, account_id, content_sid)
);
"""


def upgrade() -> None:
    """Add the columns and tables."""
    op.execute(TABLES)
    own(op, "contents", "templates")
