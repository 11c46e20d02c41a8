-- Who signs in, by which browser and session, who was invited, API keys, and what all of them did. A platform
-- administrator and what belongs to them have no owner: such rows are invisible to `recado_app`. Because of them users,
-- sessions and invitations are keyed by id alone; the second unique key carries the owner for references.

-- An address is a user of each owner on its own, and says nothing of one to another.
CREATE TABLE users (
    owner_id             uuid REFERENCES owners,
    id                   uuid PRIMARY KEY,
    email                text NOT NULL CHECK (email = lower(email) AND email LIKE '_%@_%'),
    role                 text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
    status               text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    password_hash        text NOT NULL,
    password_changed_at  timestamptz NOT NULL,
    last_sign_in_at      timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    name                 text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    version              int NOT NULL DEFAULT 1,
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

-- A browser that a user signed in with. The token is looked for across owners.
CREATE TABLE known_browsers (
    owner_id      uuid REFERENCES owners,
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users,
    token_hash    bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    last_used_at  timestamptz NOT NULL,
    FOREIGN KEY (owner_id, user_id) REFERENCES users (owner_id, id)
);

-- Open until accepted, revoked or over; `user_id` is whose password it makes anew.
CREATE TABLE invitations (
    owner_id         uuid REFERENCES owners,
    id               uuid PRIMARY KEY,
    email            text NOT NULL CHECK (email = lower(email) AND email LIKE '_%@_%'),
    role             text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
    token_hash       bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    accepted_at      timestamptz,
    revoked_at       timestamptz,
    resets_password  boolean NOT NULL DEFAULT false,
    invited_by_kind  text CHECK (invited_by_kind IN ('key', 'user', 'platform', 'cli')),
    invited_by_id    uuid,
    user_id          uuid,
    CONSTRAINT invitations_platform_role CHECK (owner_id IS NOT NULL OR role = 'admin')
);

-- What was tried stands here as a hash only: people type passwords into the wrong field.
CREATE TABLE sign_in_failures (
    subject       bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    failures      int NOT NULL,
    last_at       timestamptz NOT NULL,
    locked_until  timestamptz NOT NULL
);

-- One row, made when it is first asked for and never shown: it makes the salts of this installation others than those of
-- the next.
CREATE TABLE password_salts (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    grain  bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
);

CREATE TABLE api_keys (
    owner_id      uuid NOT NULL REFERENCES owners,
    id            uuid NOT NULL,
    name          text NOT NULL CHECK (name <> ''),
    hint          text NOT NULL,
    key_hash      bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scopes        text[] NOT NULL CHECK (scopes <> '{}' AND scopes <@ ARRAY['read', 'write', 'webhooks',
                  'admin']),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz,
    made_by_kind  text CHECK (made_by_kind IN ('key', 'user', 'platform', 'cli')),
    made_by_id    uuid,
    PRIMARY KEY (owner_id, id)
);

-- Kept answers for `Idempotency-Key`: one key of one caller is one request. Keyed by id alone, like users.
-- Caller and key come first, because an owner that is not there makes no look-up fast.
CREATE TABLE idempotency_keys (
    owner_id      uuid REFERENCES owners,
    id            uuid PRIMARY KEY,
    caller_id     uuid NOT NULL,
    key_hash      bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    request_hash  bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    answer        bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_once UNIQUE NULLS NOT DISTINCT (caller_id, key_hash, owner_id)
);

-- What people and their programs did; append-only.
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
