"""What erasing a contact, and keeping things for no longer than an owner wants, need of the database.

An erasure and what of it is still to be done at Twilio are rows, so that any worker goes on with it; of an erased
person's opt-out a keyed hash stays. Events may be deleted by what goes across owners, and entries of the audit once
they are old: PostgreSQL itself holds that job to the age. What people wrote is kept out of the planner's statistics,
where a sample of it would outlive its rows.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0039"
down_revision = "0037"
branch_labels = None
depends_on = None

_TABLES = """
-- The key of an owner's hashes of erased people, sealed like every secret; its id is the owner's.
CREATE TABLE erasure_keys (
    owner_id    uuid NOT NULL REFERENCES owners,
    id          uuid NOT NULL,
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id)
);

-- Opt-outs of people who were erased, under a keyed hash of what they were known by.
CREATE TABLE erased_suppressions (
    owner_id       uuid NOT NULL REFERENCES owners,
    identity_hash  bytea NOT NULL CHECK (octet_length(identity_hash) = 32),
    reason         text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, identity_hash)
);

-- One erasure of a person: how far it is, and in the end its proof. Kept for good: it is the ledger too.
CREATE TABLE erasures (
    owner_id         uuid NOT NULL REFERENCES owners,
    id               uuid NOT NULL,
    contact_ids      uuid[] NOT NULL CHECK (contact_ids <> '{}'),
    identity_hashes  bytea[] NOT NULL,
    status           text NOT NULL CHECK (status IN ('stopping', 'erasing', 'twilio', 'done', 'incomplete')),
    requested_at     timestamptz NOT NULL,
    -- When nothing was left here, and when Twilio had answered for everything.
    erased_at        timestamptz,
    finished_at      timestamptz,
    look_again_at    timestamptz NOT NULL,
    tries            int NOT NULL DEFAULT 0,
    waits_for        text,
    counts           jsonb NOT NULL DEFAULT '{}',
    suppressed_why   text,
    replayed         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (owner_id, id)
);

-- What of an erasure is still to be done: at Twilio, or with what other contacts may have too.
CREATE TABLE erasure_items (
    owner_id       uuid NOT NULL,
    id             uuid NOT NULL,
    erasure_id     uuid NOT NULL,
    account_id     uuid,
    kind           text NOT NULL CHECK (kind IN ('message', 'content', 'upload', 'lookup')),
    what           text NOT NULL,
    has_media      boolean NOT NULL DEFAULT false,
    -- Of a lookup: the addresses and the time for which Twilio's list is asked. Gone with the row.
    data           jsonb,
    status         text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'left')),
    code           int,
    tries          int NOT NULL DEFAULT 0,
    look_again_at  timestamptz NOT NULL,
    PRIMARY KEY (owner_id, id),
    CONSTRAINT erasure_items_once UNIQUE NULLS NOT DISTINCT (owner_id, erasure_id, kind, what, account_id),
    FOREIGN KEY (owner_id, erasure_id) REFERENCES erasures
);

-- For how many days an owner keeps what; what has no row is kept as long as there is no other reason to delete it.
CREATE TABLE retention (
    owner_id    uuid NOT NULL REFERENCES owners,
    what        text NOT NULL CHECK (what IN ('messages', 'media', 'events', 'audit')),
    days        int NOT NULL CHECK (days BETWEEN 1 AND 36500),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, what),
    CONSTRAINT retention_least CHECK (days >= CASE what WHEN 'messages' THEN 3 WHEN 'audit' THEN 30 ELSE 1 END)
);

ALTER TABLE contacts
    -- While they are erased; nothing is sent to them, and no message of theirs finds this row.
    ADD COLUMN erasure_id uuid,
    -- The contact who is the same person under another number.
    ADD COLUMN same_as uuid;
"""
_INDEXES = """
CREATE INDEX erasures_open ON erasures (look_again_at) WHERE status IN ('stopping', 'erasing', 'twilio');
CREATE INDEX erasure_items_waiting ON erasure_items (owner_id, erasure_id, look_again_at) WHERE status = 'waiting';
CREATE INDEX contacts_same_as ON contacts (owner_id, same_as) WHERE same_as IS NOT NULL;
CREATE INDEX turns_conversation ON turns (owner_id, conversation_id);
CREATE INDEX events_conversation ON events (owner_id, conversation_id)
    WHERE correlation_id IS NULL AND conversation_id IS NOT NULL;
CREATE INDEX media_kept ON media (owner_id, id) WHERE url IS NOT NULL OR storage_key IS NOT NULL;
CREATE INDEX messages_attachment ON messages (owner_id, (content ->> 'media_id')) WHERE content ? 'media_id';
CREATE INDEX message_parts_content ON message_parts (owner_id, (content ->> 'content_sid'))
    WHERE content ? 'content_sid';
"""
_RIGHTS = """
-- The ledger of erasures is never shortened, and an owner's people change nothing of it but have one tried again.
REVOKE DELETE ON erasures FROM recado_app, recado_platform;
REVOKE UPDATE ON erasures FROM recado_app;
GRANT UPDATE (status, look_again_at, tries, waits_for, finished_at) ON erasures TO recado_app;
REVOKE DELETE, UPDATE ON erasure_keys FROM recado_app;
REVOKE DELETE, UPDATE ON erasure_items FROM recado_app;
GRANT UPDATE (status, look_again_at, tries) ON erasure_items TO recado_app;

-- What happened to an erased person, or longer ago than an owner keeps it, may be deleted across owners only.
GRANT DELETE ON events, audit TO recado_platform;
CREATE POLICY old_only ON audit AS RESTRICTIVE FOR DELETE TO recado_platform
    USING (at < clock_timestamp() - interval '30 days');
"""
#: What people wrote and who they are: no statement compares it, or by a unique index only.
_SAMPLED = {
    "contacts": ("identity_key", "address", "profile_name", "external_id"),
    "suppressions": ("identity_key",),
    "messages": ("body", "parameters", "transcript", "content"),
    "media": ("url", "file_name", "text", "sha256"),
    "message_parts": ("body", "content"),
    "delivery_attempts": ("address",),
    "events": ("data",),
    "erasure_items": ("data",),
}


def upgrade() -> None:
    """Add tables, columns and indexes; say who may do what with them."""
    op.execute(_TABLES)
    own(op, "erasure_keys", "erased_suppressions", "erasures", "erasure_items", "retention")
    op.execute(_INDEXES)
    op.execute(_RIGHTS)
    for table, columns in _SAMPLED.items():
        op.execute(f"ALTER TABLE {table} " + ", ".join(f"ALTER {column} SET STATISTICS 0" for column in columns))
