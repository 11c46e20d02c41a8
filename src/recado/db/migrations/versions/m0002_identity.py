"""Identity: users, sessions, invitations, API keys, the count of failed sign-ins, and the audit.

A platform administrator and what belongs to them have no owner: such rows are invisible to `recado_app`. Because of
them users, sessions and invitations are keyed by id alone; the second unique key carries the owner for references.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import across_owners, own, own_append_only, platform_only

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE users (
    owner_id             uuid REFERENCES owners,
    id                   uuid PRIMARY KEY,
    email                text NOT NULL UNIQUE CHECK (email = lower(email) AND email LIKE '_%@_%'),
    role                 text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
    status               text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    password_hash        text NOT NULL,
    password_changed_at  timestamptz NOT NULL,
    last_sign_in_at      timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner_id, id),
    CONSTRAINT users_platform_role CHECK (owner_id IS NOT NULL OR role = 'admin')
);

CREATE TABLE sessions (
    owner_id      uuid REFERENCES owners,
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users,
    token_hash    bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_at    timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    revoked_at    timestamptz,
    FOREIGN KEY (owner_id, user_id) REFERENCES users (owner_id, id)
);
CREATE INDEX sessions_user ON sessions (user_id) WHERE revoked_at IS NULL;

CREATE TABLE invitations (
    owner_id     uuid REFERENCES owners,
    id           uuid PRIMARY KEY,
    email        text NOT NULL CHECK (email = lower(email) AND email LIKE '_%@_%'),
    role         text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
    token_hash   bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    accepted_at  timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT invitations_platform_role CHECK (owner_id IS NOT NULL OR role = 'admin')
);
CREATE UNIQUE INDEX invitations_one_open ON invitations (owner_id, email) NULLS NOT DISTINCT
    WHERE accepted_at IS NULL AND revoked_at IS NULL;

CREATE TABLE api_keys (
    owner_id      uuid NOT NULL REFERENCES owners,
    id            uuid NOT NULL,
    name          text NOT NULL CHECK (name <> ''),
    hint          text NOT NULL,
    key_hash      bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scopes        text[] NOT NULL
                  CHECK (scopes <> '{}' AND scopes <@ ARRAY['read', 'write', 'webhooks', 'admin']),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz,
    PRIMARY KEY (owner_id, id)
);

-- What was tried stands here as a hash only: people type passwords into the wrong field.
CREATE TABLE sign_in_failures (
    subject       bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    failures      int NOT NULL,
    last_at       timestamptz NOT NULL,
    locked_until  timestamptz NOT NULL
);
CREATE INDEX sign_in_failures_last ON sign_in_failures (last_at);

CREATE TABLE audit (
    id           bigserial PRIMARY KEY,
    owner_id     uuid REFERENCES owners,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    caller_kind  text NOT NULL CHECK (caller_kind IN ('key', 'user', 'platform', 'cli')),
    caller_id    uuid,
    caller_name  text NOT NULL,
    action       text NOT NULL CHECK (action <> ''),
    thing        text NOT NULL CHECK (thing <> ''),
    thing_id     text,
    data         jsonb
);
CREATE INDEX audit_owner ON audit (owner_id, id);
"""

# The one look-up of a key that must come before its owner is known.
_KEY_BY_HASH = """
CREATE FUNCTION api_key_by_hash(hash bytea)
RETURNS TABLE (owner_id uuid, id uuid, name text, scopes text[], expires_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    SELECT k.owner_id, k.id, k.name, k.scopes, k.expires_at, k.last_used_at
    FROM recado.api_keys k WHERE k.key_hash = hash AND k.revoked_at IS NULL;
END
"""


def upgrade() -> None:
    op.execute(TABLES)
    own(op, "users", "sessions", "invitations", "api_keys")
    own_append_only(op, "audit")
    platform_only(op, "sign_in_failures")
    for role in ("recado_app", "recado_platform"):
        op.execute(f"GRANT USAGE ON SEQUENCE audit_id_seq TO {role}")
    op.execute(_KEY_BY_HASH)
    across_owners(op, "api_key_by_hash(bytea)")
