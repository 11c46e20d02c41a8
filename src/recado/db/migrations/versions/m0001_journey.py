"""The journey's tables: owners, Twilio accounts, conversations, messages, deliveries, events, executors.

Every table of an owner's rows has a primary key that begins with owner_id, so that a foreign key carries the owner
and no row can point across owners. Row-level security stands on the same column, forced for the tables' owner too.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE owners (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE assistants (
    owner_id      uuid NOT NULL REFERENCES owners,
    id            uuid NOT NULL,
    name          text NOT NULL CHECK (name <> ''),
    is_default    boolean NOT NULL DEFAULT false,
    instructions  text NOT NULL DEFAULT '',
    model         text,
    language      text NOT NULL DEFAULT 'pt',
    apology       text,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    UNIQUE (owner_id, name)
);
CREATE UNIQUE INDEX assistants_one_default ON assistants (owner_id) WHERE is_default;

CREATE TABLE knowledge (
    owner_id    uuid NOT NULL REFERENCES owners,
    id          uuid NOT NULL,
    source      text NOT NULL,
    ordinal     int NOT NULL,
    title       text NOT NULL,
    content     text NOT NULL,
    language    text NOT NULL DEFAULT 'pt',
    search      tsvector NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    UNIQUE (owner_id, source, ordinal) DEFERRABLE INITIALLY IMMEDIATE
);

CREATE TABLE twilio_accounts (
    owner_id         uuid NOT NULL REFERENCES owners,
    id               uuid NOT NULL,
    account_sid      text NOT NULL UNIQUE CHECK (account_sid ~ '^AC[0-9a-fA-F]{32}$'),
    auth_token       bytea NOT NULL,
    secondary_token  bytea,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id)
);

CREATE TABLE numbers (
    owner_id      uuid NOT NULL,
    id            uuid NOT NULL,
    account_id    uuid NOT NULL,
    address       text NOT NULL CHECK (address <> ''),
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'unrouted')),
    assistant_id  uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts,
    FOREIGN KEY (owner_id, assistant_id) REFERENCES assistants,
    UNIQUE (account_id, address)
);

CREATE TABLE contacts (
    owner_id      uuid NOT NULL REFERENCES owners,
    id            uuid NOT NULL,
    identity_key  text NOT NULL,
    address       text NOT NULL,
    profile_name  text,
    language      text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    UNIQUE (owner_id, identity_key)
) WITH (fillfactor = 90);

CREATE TABLE suppressions (
    owner_id      uuid NOT NULL REFERENCES owners,
    identity_key  text NOT NULL,
    reason        text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, identity_key)
);

CREATE TABLE conversations (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    number_id        uuid NOT NULL,
    contact_id       uuid NOT NULL,
    status           text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'handoff', 'closed')),
    attention        text,
    close_reason     text,
    assignee         uuid,
    last_inbound_at  timestamptz NOT NULL,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    closed_at        timestamptz,
    version          int NOT NULL DEFAULT 1,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, number_id) REFERENCES numbers,
    FOREIGN KEY (owner_id, contact_id) REFERENCES contacts
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX conversations_one_not_closed ON conversations (owner_id, number_id, contact_id)
    WHERE status <> 'closed';
CREATE INDEX conversations_handoff ON conversations (owner_id) WHERE status = 'handoff';

CREATE TABLE turns (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    conversation_id  uuid NOT NULL,
    correlation_id   uuid NOT NULL,
    assistant_id     uuid,
    model            text,
    outcome          text NOT NULL CHECK (outcome IN ('answered', 'keyless', 'apology', 'silent')),
    rounds           int NOT NULL DEFAULT 1,
    input_tokens     int NOT NULL DEFAULT 0,
    output_tokens    int NOT NULL DEFAULT 0,
    error            text,
    started_at       timestamptz NOT NULL,
    finished_at      timestamptz NOT NULL,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, conversation_id) REFERENCES conversations
);

CREATE TABLE messages (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    conversation_id  uuid NOT NULL,
    account_id       uuid NOT NULL,
    direction        text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    author           text NOT NULL CHECK (author IN ('contact', 'assistant', 'operator', 'system', 'api')),
    kind             text NOT NULL DEFAULT 'text',
    body             text NOT NULL,
    status           text NOT NULL,
    error_code       int,
    provider_sid     text,
    correlation_id   uuid NOT NULL,
    reply_to         uuid,
    turn_id          uuid,
    parameters       jsonb,
    received_at      timestamptz NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, conversation_id) REFERENCES conversations
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX messages_provider_sid ON messages (account_id, provider_sid) WHERE provider_sid IS NOT NULL;
CREATE INDEX messages_history ON messages (owner_id, conversation_id, id);
CREATE INDEX messages_failed ON messages (owner_id, id) WHERE status IN ('failed', 'held');
CREATE INDEX messages_in_work ON messages (id) WHERE status IN ('received', 'queued', 'held');

CREATE TABLE message_parts (
    owner_id      uuid NOT NULL,
    message_id    uuid NOT NULL,
    part          smallint NOT NULL,
    body          text NOT NULL,
    status        text NOT NULL DEFAULT 'waiting',
    provider_sid  text,
    retired_sids  text[] NOT NULL DEFAULT '{}',
    error_code    int,
    taken_at      timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, message_id, part),
    FOREIGN KEY (owner_id, message_id) REFERENCES messages
) WITH (fillfactor = 85);
CREATE INDEX message_parts_provider_sid ON message_parts (provider_sid) WHERE provider_sid IS NOT NULL;
CREATE INDEX message_parts_retired ON message_parts (owner_id) WHERE retired_sids <> '{}';
CREATE INDEX message_parts_with_twilio ON message_parts (owner_id, message_id)
    WHERE status IN ('accepted', 'scheduled', 'queued', 'sending');

CREATE TABLE delivery_attempts (
    owner_id      uuid NOT NULL,
    id            uuid NOT NULL,
    message_id    uuid NOT NULL,
    part          smallint NOT NULL,
    outcome       text NOT NULL DEFAULT 'started'
                  CHECK (outcome IN ('started', 'taken', 'refused', 'unknown', 'not_taken')),
    error_class   text,
    error_code    int,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, message_id, part) REFERENCES message_parts
) WITH (fillfactor = 85);
CREATE INDEX delivery_attempts_message ON delivery_attempts (owner_id, message_id, part);
CREATE UNIQUE INDEX delivery_attempts_one_open ON delivery_attempts (owner_id, message_id, part)
    WHERE outcome IN ('started', 'unknown');

CREATE TABLE events (
    id               bigserial,
    owner_id         uuid NOT NULL REFERENCES owners,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    step             text NOT NULL,
    what             text NOT NULL,
    conversation_id  uuid,
    message_id       uuid,
    correlation_id   uuid,
    data             jsonb,
    PRIMARY KEY (owner_id, id)
);
CREATE INDEX events_message ON events (owner_id, correlation_id);

-- The least UUIDv7 of a moment: rows by id are rows by time.
CREATE FUNCTION uuid_floor(moment timestamptz) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;

CREATE TABLE executors (
    id          text PRIMARY KEY,
    lock_key    bigint NOT NULL UNIQUE,
    kind        text NOT NULL,
    host        text NOT NULL,
    pid         int NOT NULL,
    queues      text[] NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now()
);
"""

OWNED = (
    "assistants",
    "knowledge",
    "twilio_accounts",
    "numbers",
    "contacts",
    "suppressions",
    "conversations",
    "turns",
    "messages",
    "message_parts",
    "delivery_attempts",
    "events",
)


def upgrade() -> None:
    op.execute(TABLES)
    current_owner = "(SELECT nullif(current_setting('recado.owner_id', true), '')::uuid)"
    for table in ("owners", *OWNED):
        column = "id" if table == "owners" else "owner_id"
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner_only ON {table} TO recado_app USING ({column} = {current_owner})")
        op.execute(f"CREATE POLICY platform ON {table} TO recado_platform USING (true)")
    for role in ("recado_app", "recado_platform"):
        op.execute(f"GRANT USAGE ON SCHEMA recado TO {role}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA recado TO {role}")
        op.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA recado TO {role}")
        op.execute(f"REVOKE UPDATE, DELETE ON events FROM {role}")
        op.execute(f"REVOKE INSERT, UPDATE, DELETE ON schema_version FROM {role}")
    op.execute("REVOKE INSERT, UPDATE, DELETE ON owners FROM recado_app")
    # The one look-up that must come before the owner is known: whose AccountSid is it?
    op.execute(
        """
        CREATE FUNCTION account_by_sid(sid text)
        RETURNS TABLE (owner_id uuid, owner_status text, id uuid, auth_token bytea, secondary_token bytea)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
        BEGIN ATOMIC
            SELECT a.owner_id, o.status, a.id, a.auth_token, a.secondary_token
            FROM recado.twilio_accounts a JOIN recado.owners o ON o.id = a.owner_id
            WHERE a.account_sid = sid;
        END
        """
    )
    op.execute("GRANT CREATE ON SCHEMA recado TO recado_platform")
    op.execute("ALTER FUNCTION account_by_sid(text) OWNER TO recado_platform")
    op.execute("REVOKE CREATE ON SCHEMA recado FROM recado_platform")
    op.execute("REVOKE ALL ON FUNCTION account_by_sid(text) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION account_by_sid(text) TO recado_app, recado_platform")
