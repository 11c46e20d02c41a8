-- The database that `recado migrate` makes, table by table. Made by `make schema`: don't edit.
-- What the functions say is in functions/, the tables with their whys in migrations/baseline.

CREATE TABLE api_keys (
    owner_id      uuid NOT NULL,
    id            uuid NOT NULL,
    name          text NOT NULL,
    hint          text NOT NULL,
    key_hash      bytea NOT NULL,
    scopes        text[] NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz,
    made_by_kind  text,
    made_by_id    uuid,
    CONSTRAINT api_keys_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash),
    CONSTRAINT api_keys_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT api_keys_key_hash_check CHECK (octet_length(key_hash) = 32),
    CONSTRAINT api_keys_made_by_kind_check CHECK (made_by_kind IN ('key', 'user', 'platform', 'cli')),
    CONSTRAINT api_keys_name_check CHECK (name <> ''),
    CONSTRAINT api_keys_scopes_check CHECK ((scopes <> '{}'::text[]) AND (scopes <@ ARRAY['read', 'write', 'webhooks',
        'admin']))
);
CREATE INDEX api_keys_made_by ON api_keys (made_by_id) WHERE (made_by_id IS NOT NULL);
CREATE TRIGGER tell_change AFTER INSERT OR DELETE OR UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION tell_change();
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON api_keys TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON api_keys TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON api_keys TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON api_keys TO recado_platform;

CREATE TABLE assistants (
    owner_id           uuid NOT NULL,
    id                 uuid NOT NULL,
    name               text NOT NULL,
    is_default         boolean NOT NULL DEFAULT false,
    instructions       text NOT NULL DEFAULT '',
    model              text,
    language           text NOT NULL DEFAULT 'pt',
    apology            text,
    updated_at         timestamptz NOT NULL DEFAULT now(),
    created_at         timestamptz NOT NULL DEFAULT now(),
    version            integer NOT NULL DEFAULT 1,
    sees               boolean,
    fallback_template  jsonb,
    templates          boolean NOT NULL DEFAULT false,
    CONSTRAINT assistants_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT assistants_owner_id_name_key UNIQUE (owner_id, name),
    CONSTRAINT assistants_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT assistants_name_check CHECK (name <> '')
);
CREATE UNIQUE INDEX assistants_one_default ON assistants (owner_id) WHERE is_default;
ALTER TABLE assistants ENABLE ROW LEVEL SECURITY; ALTER TABLE assistants FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON assistants TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON assistants TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON assistants TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON assistants TO recado_platform;

CREATE TABLE audit (
    id           bigint NOT NULL DEFAULT nextval('audit_id_seq'),
    owner_id     uuid,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    caller_kind  text NOT NULL,
    caller_id    uuid,
    caller_name  text NOT NULL,
    action       text NOT NULL,
    thing        text NOT NULL,
    thing_id     text,
    data         jsonb,
    CONSTRAINT audit_pkey PRIMARY KEY (id),
    CONSTRAINT audit_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT audit_action_check CHECK (action <> ''),
    CONSTRAINT audit_caller_kind_check CHECK (caller_kind IN ('key', 'user', 'platform', 'cli')),
    CONSTRAINT audit_thing_check CHECK (thing <> '')
);
CREATE INDEX audit_owner ON audit (owner_id, id);
ALTER TABLE audit ENABLE ROW LEVEL SECURITY; ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY old_only ON audit AS RESTRICTIVE FOR DELETE TO recado_platform USING (at < (clock_timestamp() - '30
    days'::interval));
CREATE POLICY owner_only ON audit TO recado_app USING (owner_id = ( SELECT (NULLIF(current_setting('recado.owner_id',
    true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON audit TO recado_platform USING (true);
GRANT INSERT, SELECT ON audit TO recado_app;
GRANT DELETE, INSERT, SELECT ON audit TO recado_platform;

CREATE TABLE consent_words (
    owner_id    uuid NOT NULL,
    id          uuid NOT NULL,
    word        text NOT NULL,
    action      text NOT NULL,
    language    text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT consent_words_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT consent_words_owner_id_word_key UNIQUE (owner_id, word),
    CONSTRAINT consent_words_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT consent_words_action_check CHECK (action IN ('stop', 'start')),
    CONSTRAINT consent_words_language_check CHECK (language IN ('pt', 'es', 'en')),
    CONSTRAINT consent_words_word_check CHECK (word <> '')
);
ALTER TABLE consent_words ENABLE ROW LEVEL SECURITY; ALTER TABLE consent_words FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON consent_words TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON consent_words TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON consent_words TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON consent_words TO recado_platform;

CREATE TABLE contacts (
    owner_id      uuid NOT NULL,
    id            uuid NOT NULL,
    identity_key  text NOT NULL,
    address       text NOT NULL,
    profile_name  text,
    language      text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    courtesy_at   timestamptz,
    external_id   text,
    language_why  text,
    version       integer NOT NULL DEFAULT 1,
    opted_in_at   timestamptz,
    erasure_id    uuid,
    same_as       uuid,
    CONSTRAINT contacts_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT contacts_identity_key UNIQUE (identity_key, owner_id),
    CONSTRAINT contacts_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT contacts_language_why CHECK ((language IS NULL) = (language_why IS NULL)),
    CONSTRAINT contacts_language_why_check CHECK (language_why IN ('people', 'written'))
) WITH (fillfactor=90);
CREATE INDEX contacts_external_id ON contacts (owner_id, external_id) WHERE (external_id IS NOT NULL);
CREATE INDEX contacts_same_as ON contacts (owner_id, same_as) WHERE (same_as IS NOT NULL);
ALTER TABLE contacts ENABLE ROW LEVEL SECURITY; ALTER TABLE contacts FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON contacts TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON contacts TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON contacts TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON contacts TO recado_platform;

CREATE TABLE contents (
    owner_id     uuid NOT NULL,
    id           uuid NOT NULL,
    account_id   uuid NOT NULL,
    hash         bytea NOT NULL,
    content_sid  text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT contents_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT contents_owner_id_account_id_hash_key UNIQUE (owner_id, account_id, hash),
    CONSTRAINT contents_owner_id_account_id_fkey FOREIGN KEY (owner_id, account_id) REFERENCES
        twilio_accounts(owner_id, id),
    CONSTRAINT contents_content_sid_check CHECK (content_sid ~ '^HX[0-9a-fA-F]{32}$'),
    CONSTRAINT contents_hash_check CHECK (octet_length(hash) = 32)
);
ALTER TABLE contents ENABLE ROW LEVEL SECURITY; ALTER TABLE contents FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON contents TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON contents TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON contents TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON contents TO recado_platform;

CREATE TABLE conversations (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    number_id        uuid NOT NULL,
    contact_id       uuid NOT NULL,
    status           text NOT NULL DEFAULT 'open',
    attention        text,
    close_reason     text,
    assignee         uuid,
    last_inbound_at  timestamptz,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    closed_at        timestamptz,
    version          integer NOT NULL DEFAULT 1,
    budget_told      date,
    circled_at       timestamptz,
    CONSTRAINT conversations_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT conversations_assignee FOREIGN KEY (owner_id, assignee) REFERENCES users(owner_id, id),
    CONSTRAINT conversations_owner_id_contact_id_fkey FOREIGN KEY (owner_id, contact_id) REFERENCES contacts(owner_id,
        id),
    CONSTRAINT conversations_owner_id_number_id_fkey FOREIGN KEY (owner_id, number_id) REFERENCES numbers(owner_id,
        id),
    CONSTRAINT conversations_status_check CHECK (status IN ('open', 'handoff', 'closed'))
) WITH (fillfactor=85);
CREATE INDEX conversations_contact ON conversations (owner_id, contact_id, id);
CREATE INDEX conversations_handoff ON conversations (owner_id) WHERE (status = 'handoff');
CREATE UNIQUE INDEX conversations_one_not_closed ON conversations (owner_id, number_id, contact_id) WHERE (status <>
    'closed');
ALTER TABLE conversations ENABLE ROW LEVEL SECURITY; ALTER TABLE conversations FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON conversations TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON conversations TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON conversations TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON conversations TO recado_platform;

CREATE TABLE delivery_attempts (
    owner_id     uuid NOT NULL,
    id           uuid NOT NULL,
    message_id   uuid NOT NULL,
    part         smallint NOT NULL,
    outcome      text NOT NULL DEFAULT 'started',
    error_class  text,
    error_code   integer,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    address      text,
    CONSTRAINT delivery_attempts_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT delivery_attempts_owner_id_message_id_part_fkey FOREIGN KEY (owner_id, message_id, part) REFERENCES
        message_parts(owner_id, message_id, part),
    CONSTRAINT delivery_attempts_outcome_check CHECK (outcome IN ('started', 'taken', 'refused', 'unknown',
        'not_taken'))
) WITH (fillfactor=85);
CREATE INDEX delivery_attempts_message ON delivery_attempts (owner_id, message_id, part);
CREATE UNIQUE INDEX delivery_attempts_one_open ON delivery_attempts (owner_id, message_id, part) WHERE (outcome IN
    ('started', 'unknown'));
ALTER TABLE delivery_attempts ENABLE ROW LEVEL SECURITY; ALTER TABLE delivery_attempts FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON delivery_attempts TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON delivery_attempts TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON delivery_attempts TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON delivery_attempts TO recado_platform;

CREATE TABLE erased_suppressions (
    owner_id       uuid NOT NULL,
    identity_hash  bytea NOT NULL,
    reason         text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT erased_suppressions_pkey PRIMARY KEY (owner_id, identity_hash),
    CONSTRAINT erased_suppressions_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT erased_suppressions_identity_hash_check CHECK (octet_length(identity_hash) = 32)
);
ALTER TABLE erased_suppressions ENABLE ROW LEVEL SECURITY; ALTER TABLE erased_suppressions FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON erased_suppressions TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON erased_suppressions TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON erased_suppressions TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON erased_suppressions TO recado_platform;

CREATE TABLE erasure_items (
    owner_id       uuid NOT NULL,
    id             uuid NOT NULL,
    erasure_id     uuid NOT NULL,
    account_id     uuid,
    kind           text NOT NULL,
    what           text NOT NULL,
    has_media      boolean NOT NULL DEFAULT false,
    data           jsonb,
    status         text NOT NULL DEFAULT 'waiting',
    code           integer,
    tries          integer NOT NULL DEFAULT 0,
    look_again_at  timestamptz NOT NULL,
    CONSTRAINT erasure_items_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT erasure_items_once UNIQUE NULLS NOT DISTINCT (owner_id, erasure_id, kind, what, account_id),
    CONSTRAINT erasure_items_owner_id_erasure_id_fkey FOREIGN KEY (owner_id, erasure_id) REFERENCES erasures(owner_id,
        id),
    CONSTRAINT erasure_items_kind_check CHECK (kind IN ('message', 'content', 'upload', 'lookup')),
    CONSTRAINT erasure_items_status_check CHECK (status IN ('waiting', 'left'))
);
CREATE INDEX erasure_items_waiting ON erasure_items (owner_id, erasure_id, look_again_at) WHERE (status = 'waiting');
ALTER TABLE erasure_items ENABLE ROW LEVEL SECURITY; ALTER TABLE erasure_items FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON erasure_items TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON erasure_items TO recado_platform USING (true);
GRANT INSERT, SELECT ON erasure_items TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON erasure_items TO recado_platform;
GRANT UPDATE (status) ON erasure_items TO recado_app;
GRANT UPDATE (tries) ON erasure_items TO recado_app;
GRANT UPDATE (look_again_at) ON erasure_items TO recado_app;

CREATE TABLE erasure_keys (
    owner_id    uuid NOT NULL,
    id          uuid NOT NULL,
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT erasure_keys_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT erasure_keys_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id)
);
ALTER TABLE erasure_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE erasure_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON erasure_keys TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON erasure_keys TO recado_platform USING (true);
GRANT INSERT, SELECT ON erasure_keys TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON erasure_keys TO recado_platform;

CREATE TABLE erasures (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    contact_ids      uuid[] NOT NULL,
    identity_hashes  bytea[] NOT NULL,
    status           text NOT NULL,
    requested_at     timestamptz NOT NULL,
    erased_at        timestamptz,
    finished_at      timestamptz,
    look_again_at    timestamptz NOT NULL,
    tries            integer NOT NULL DEFAULT 0,
    waits_for        text,
    counts           jsonb NOT NULL DEFAULT '{}'::jsonb,
    suppressed_why   text,
    replayed         boolean NOT NULL DEFAULT false,
    CONSTRAINT erasures_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT erasures_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT erasures_contact_ids_check CHECK (contact_ids <> '{}'::uuid[]),
    CONSTRAINT erasures_status_check CHECK (status IN ('stopping', 'erasing', 'twilio', 'done', 'incomplete'))
);
CREATE INDEX erasures_open ON erasures (look_again_at) WHERE (status IN ('stopping', 'erasing', 'twilio'));
ALTER TABLE erasures ENABLE ROW LEVEL SECURITY; ALTER TABLE erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON erasures TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON erasures TO recado_platform USING (true);
GRANT INSERT, SELECT ON erasures TO recado_app;
GRANT INSERT, SELECT, UPDATE ON erasures TO recado_platform;
GRANT UPDATE (status) ON erasures TO recado_app;
GRANT UPDATE (finished_at) ON erasures TO recado_app;
GRANT UPDATE (look_again_at) ON erasures TO recado_app;
GRANT UPDATE (tries) ON erasures TO recado_app;
GRANT UPDATE (waits_for) ON erasures TO recado_app;

CREATE TABLE events (
    id               bigint NOT NULL DEFAULT next_event_id(),
    owner_id         uuid NOT NULL,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    step             text NOT NULL,
    what             text NOT NULL,
    conversation_id  uuid,
    message_id       uuid,
    correlation_id   uuid,
    data             jsonb,
    CONSTRAINT events_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT events_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id)
);
CREATE INDEX events_conversation ON events (owner_id, conversation_id) WHERE ((correlation_id IS NULL) AND
    (conversation_id IS NOT NULL));
CREATE INDEX events_message ON events (owner_id, correlation_id);
ALTER TABLE events ENABLE ROW LEVEL SECURITY; ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON events TO recado_app USING (owner_id = ( SELECT (NULLIF(current_setting('recado.owner_id',
    true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON events TO recado_platform USING (true);
GRANT INSERT, SELECT ON events TO recado_app;
GRANT DELETE, INSERT, SELECT ON events TO recado_platform;

CREATE TABLE executor_deaths (
    id           bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    executor_id  text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT executor_deaths_pkey PRIMARY KEY (id)
);
CREATE INDEX executor_deaths_at ON executor_deaths (at);
GRANT DELETE, INSERT, SELECT ON executor_deaths TO recado_platform;

CREATE TABLE executors (
    id          text NOT NULL,
    lock_key    bigint NOT NULL,
    kind        text NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    queues      text[] NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    version     text NOT NULL DEFAULT '1',
    recado      text,
    draining    boolean NOT NULL DEFAULT false,
    CONSTRAINT executors_pkey PRIMARY KEY (id),
    CONSTRAINT executors_lock_key_key UNIQUE (lock_key)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON executors TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON executors TO recado_platform;

CREATE TABLE idempotency_keys (
    owner_id      uuid,
    id            uuid NOT NULL,
    caller_id     uuid NOT NULL,
    key_hash      bytea NOT NULL,
    request_hash  bytea NOT NULL,
    answer        bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (id),
    CONSTRAINT idempotency_keys_once UNIQUE NULLS NOT DISTINCT (caller_id, key_hash, owner_id),
    CONSTRAINT idempotency_keys_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT idempotency_keys_key_hash_check CHECK (octet_length(key_hash) = 32),
    CONSTRAINT idempotency_keys_request_hash_check CHECK (octet_length(request_hash) = 32)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_old ON idempotency_keys (owner_id, created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON idempotency_keys TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON idempotency_keys TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON idempotency_keys TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON idempotency_keys TO recado_platform;

CREATE TABLE invitations (
    owner_id         uuid,
    id               uuid NOT NULL,
    email            text NOT NULL,
    role             text NOT NULL,
    token_hash       bytea NOT NULL,
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    accepted_at      timestamptz,
    revoked_at       timestamptz,
    resets_password  boolean NOT NULL DEFAULT false,
    invited_by_kind  text,
    invited_by_id    uuid,
    user_id          uuid,
    CONSTRAINT invitations_pkey PRIMARY KEY (id),
    CONSTRAINT invitations_token_hash_key UNIQUE (token_hash),
    CONSTRAINT invitations_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT invitations_email_check CHECK ((email = lower(email)) AND (email ~~ '_%@_%')),
    CONSTRAINT invitations_invited_by_kind_check CHECK (invited_by_kind IN ('key', 'user', 'platform', 'cli')),
    CONSTRAINT invitations_platform_role CHECK ((owner_id IS NOT NULL) OR (role = 'admin')),
    CONSTRAINT invitations_role_check CHECK (role IN ('admin', 'operator', 'viewer')),
    CONSTRAINT invitations_token_hash_check CHECK (octet_length(token_hash) = 32)
);
CREATE UNIQUE INDEX invitations_one_open ON invitations (owner_id, email) NULLS NOT DISTINCT WHERE ((accepted_at IS
    NULL) AND (revoked_at IS NULL));
ALTER TABLE invitations ENABLE ROW LEVEL SECURITY; ALTER TABLE invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON invitations TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON invitations TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON invitations TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON invitations TO recado_platform;

CREATE TABLE jobs (
    name         text NOT NULL,
    next_at      timestamptz NOT NULL,
    asked_at     timestamptz,
    holder       text,
    held_until   timestamptz,
    fence        bigint NOT NULL DEFAULT 0,
    deaths       integer NOT NULL DEFAULT 0,
    started_at   timestamptz,
    finished_at  timestamptz,
    outcome      text,
    error        text,
    duration_ms  integer,
    failures     integer NOT NULL DEFAULT 0,
    CONSTRAINT jobs_pkey PRIMARY KEY (name),
    CONSTRAINT jobs_name_check CHECK (name <> ''),
    CONSTRAINT jobs_outcome_check CHECK (outcome IN ('done', 'failed', 'too_long'))
);
GRANT DELETE, INSERT, SELECT, UPDATE ON jobs TO recado_platform;

CREATE TABLE knowledge (
    owner_id    uuid NOT NULL,
    id          uuid NOT NULL,
    source      text NOT NULL,
    ordinal     integer NOT NULL,
    title       text NOT NULL,
    content     text NOT NULL,
    language    text NOT NULL DEFAULT 'pt',
    search      tsvector NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT knowledge_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT knowledge_owner_id_source_ordinal_key UNIQUE (owner_id, source, ordinal) DEFERRABLE,
    CONSTRAINT knowledge_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id)
);
CREATE TRIGGER words_a_forgotten AFTER UPDATE ON knowledge REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE
    FUNCTION forget_words();
CREATE TRIGGER words_b_learnt AFTER UPDATE ON knowledge REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE
    FUNCTION learn_words();
CREATE TRIGGER words_forgotten AFTER DELETE ON knowledge REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE
    FUNCTION forget_words();
CREATE TRIGGER words_learnt AFTER INSERT ON knowledge REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE
    FUNCTION learn_words();
ALTER TABLE knowledge ENABLE ROW LEVEL SECURITY; ALTER TABLE knowledge FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON knowledge TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON knowledge TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON knowledge TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON knowledge TO recado_platform;

CREATE TABLE knowledge_places (
    owner_id    uuid NOT NULL,
    lexeme      text COLLATE "C" NOT NULL,
    in_content  boolean NOT NULL,
    entry_id    uuid NOT NULL,
    CONSTRAINT knowledge_places_pkey PRIMARY KEY (owner_id, lexeme, in_content, entry_id),
    CONSTRAINT knowledge_places_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id)
);
ALTER TABLE knowledge_places ENABLE ROW LEVEL SECURITY; ALTER TABLE knowledge_places FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON knowledge_places TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON knowledge_places TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON knowledge_places TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON knowledge_places TO recado_platform;

CREATE TABLE knowledge_words (
    owner_id  uuid NOT NULL,
    lexeme    text COLLATE "C" NOT NULL,
    slot      smallint NOT NULL,
    entries   integer NOT NULL,
    CONSTRAINT knowledge_words_pkey PRIMARY KEY (owner_id, lexeme, slot),
    CONSTRAINT knowledge_words_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT knowledge_words_entries_check CHECK (entries <> 0)
);
ALTER TABLE knowledge_words ENABLE ROW LEVEL SECURITY; ALTER TABLE knowledge_words FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON knowledge_words TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON knowledge_words TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON knowledge_words TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON knowledge_words TO recado_platform;

CREATE TABLE known_browsers (
    owner_id      uuid,
    id            uuid NOT NULL,
    user_id       uuid NOT NULL,
    token_hash    bytea NOT NULL,
    last_used_at  timestamptz NOT NULL,
    CONSTRAINT known_browsers_pkey PRIMARY KEY (id),
    CONSTRAINT known_browsers_token_hash_key UNIQUE (token_hash),
    CONSTRAINT known_browsers_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT known_browsers_owner_id_user_id_fkey FOREIGN KEY (owner_id, user_id) REFERENCES users(owner_id, id),
    CONSTRAINT known_browsers_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id),
    CONSTRAINT known_browsers_token_hash_check CHECK (octet_length(token_hash) = 32)
);
CREATE INDEX known_browsers_user ON known_browsers (user_id);
ALTER TABLE known_browsers ENABLE ROW LEVEL SECURITY; ALTER TABLE known_browsers FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON known_browsers TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON known_browsers TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON known_browsers TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON known_browsers TO recado_platform;

CREATE TABLE media (
    owner_id        uuid NOT NULL,
    id              uuid NOT NULL,
    message_id      uuid,
    ordinal         smallint NOT NULL DEFAULT 0,
    url             text,
    announced_type  text NOT NULL,
    file_name       text,
    status          text NOT NULL DEFAULT 'waiting',
    reason          text,
    content_type    text,
    size_bytes      bigint,
    sha256          bytea,
    storage_key     text,
    duration_s      double precision,
    width           integer,
    height          integer,
    pages           integer,
    text            text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    settled_at      timestamptz,
    CONSTRAINT media_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT media_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT media_owner_id_message_id_fkey FOREIGN KEY (owner_id, message_id) REFERENCES messages(owner_id, id),
    CONSTRAINT media_status_check CHECK (status IN ('waiting', 'stored', 'refused', 'failed'))
);
CREATE INDEX media_kept ON media (owner_id, id) WHERE ((url IS NOT NULL) OR (storage_key IS NOT NULL));
CREATE INDEX media_message ON media (owner_id, message_id) WHERE (message_id IS NOT NULL);
CREATE INDEX media_reason ON media (owner_id, message_id) WHERE (reason IS NOT NULL);
CREATE CONSTRAINT TRIGGER count_stored AFTER INSERT OR DELETE OR UPDATE ON media DEFERRABLE INITIALLY DEFERRED FOR
    EACH ROW EXECUTE FUNCTION count_stored();
ALTER TABLE media ENABLE ROW LEVEL SECURITY; ALTER TABLE media FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON media TO recado_app USING (owner_id = ( SELECT (NULLIF(current_setting('recado.owner_id',
    true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON media TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON media TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON media TO recado_platform;

CREATE TABLE message_parts (
    owner_id      uuid NOT NULL,
    message_id    uuid NOT NULL,
    part          smallint NOT NULL,
    body          text NOT NULL,
    status        text NOT NULL DEFAULT 'waiting',
    provider_sid  text,
    retired_sids  text[] NOT NULL DEFAULT '{}'::text[],
    error_code    integer,
    taken_at      timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    content       jsonb,
    asked_at      timestamptz,
    CONSTRAINT message_parts_pkey PRIMARY KEY (owner_id, message_id, part),
    CONSTRAINT message_parts_owner_id_message_id_fkey FOREIGN KEY (owner_id, message_id) REFERENCES messages(owner_id,
        id),
    CONSTRAINT message_parts_status_check CHECK (status IN ('waiting', 'accepted', 'scheduled', 'queued', 'sending',
        'sent', 'canceled', 'failed', 'undelivered', 'partially_delivered', 'delivered', 'read'))
) WITH (fillfactor=85);
CREATE INDEX message_parts_content ON message_parts (owner_id, ((content ->> 'content_sid'))) WHERE (content ?
    'content_sid');
CREATE INDEX message_parts_provider_sid ON message_parts (provider_sid) WHERE (provider_sid IS NOT NULL);
CREATE INDEX message_parts_retired ON message_parts (owner_id) WHERE (retired_sids <> '{}'::text[]);
CREATE INDEX message_parts_with_twilio ON message_parts (owner_id, message_id) WHERE (status IN ('accepted',
    'scheduled', 'queued', 'sending'));
CREATE CONSTRAINT TRIGGER meter_part AFTER UPDATE OF provider_sid ON message_parts DEFERRABLE INITIALLY DEFERRED FOR
    EACH ROW WHEN (((old.provider_sid IS NULL) AND (new.provider_sid IS NOT NULL))) EXECUTE FUNCTION meter_part();
ALTER TABLE message_parts ENABLE ROW LEVEL SECURITY; ALTER TABLE message_parts FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON message_parts TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON message_parts TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON message_parts TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON message_parts TO recado_platform;

CREATE TABLE messages (
    owner_id             uuid NOT NULL,
    id                   uuid NOT NULL,
    conversation_id      uuid NOT NULL,
    account_id           uuid NOT NULL,
    direction            text NOT NULL,
    author               text NOT NULL,
    kind                 text NOT NULL DEFAULT 'text',
    body                 text NOT NULL,
    status               text NOT NULL,
    error_code           integer,
    provider_sid         text,
    correlation_id       uuid NOT NULL,
    reply_to             uuid,
    turn_id              uuid,
    parameters           jsonb,
    received_at          timestamptz NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    transcript           text,
    transcript_language  text,
    awaits_media         boolean NOT NULL DEFAULT false,
    content              jsonb,
    reason               text,
    held_for             text,
    look_again_at        timestamptz,
    starts               smallint NOT NULL DEFAULT 0,
    begun_at             timestamptz,
    CONSTRAINT messages_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT messages_account FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts(owner_id, id),
    CONSTRAINT messages_owner_id_conversation_id_fkey FOREIGN KEY (owner_id, conversation_id) REFERENCES
        conversations(owner_id, id),
    CONSTRAINT messages_reply_to FOREIGN KEY (owner_id, reply_to) REFERENCES messages(owner_id, id),
    CONSTRAINT messages_turn FOREIGN KEY (owner_id, turn_id) REFERENCES turns(owner_id, id),
    CONSTRAINT messages_author_check CHECK (author IN ('contact', 'assistant', 'operator', 'system', 'api')),
    CONSTRAINT messages_direction_check CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT messages_held_for_check CHECK (held_for IN ('people', 'limit', 'budget', 'window', 'setup', 'quota',
        'look', 'loop', 'broken', 'channel', 'owner', 'opted_out', 'restored')),
    CONSTRAINT messages_held_for_when_held CHECK ((status = 'held') = (held_for IS NOT NULL)),
    CONSTRAINT messages_kind_check CHECK (kind ~ '^[a-z][a-z_-]{0,31}$'),
    CONSTRAINT messages_status_check CHECK (status IN ('received', 'unrouted', 'answered', 'held', 'queued',
        'accepted', 'scheduled', 'sending', 'sent', 'canceled', 'failed', 'undelivered', 'partially_delivered',
        'delivered', 'read'))
) WITH (fillfactor=85);
CREATE INDEX messages_attachment ON messages (owner_id, ((content ->> 'media_id'))) WHERE (content ? 'media_id');
CREATE INDEX messages_awaiting_media ON messages (received_at) WHERE awaits_media;
CREATE INDEX messages_due ON messages (look_again_at) WHERE (look_again_at IS NOT NULL);
CREATE INDEX messages_failed ON messages (owner_id, id) WHERE (status IN ('failed', 'held'));
CREATE INDEX messages_held_for_owner ON messages (owner_id, id) WHERE (held_for = 'owner');
CREATE INDEX messages_history ON messages (owner_id, conversation_id, id);
CREATE INDEX messages_in_work ON messages (id) WHERE (status IN ('received', 'queued', 'held'));
CREATE INDEX messages_look_again ON messages (owner_id, conversation_id, id) WHERE (look_again_at IS NOT NULL);
CREATE UNIQUE INDEX messages_provider_sid ON messages (account_id, provider_sid) WHERE (provider_sid IS NOT NULL);
CREATE INDEX messages_reply_to ON messages (owner_id, reply_to) WHERE (reply_to IS NOT NULL);
CREATE INDEX messages_turn ON messages (owner_id, turn_id) WHERE (turn_id IS NOT NULL);
CREATE INDEX messages_waiting ON messages (owner_id, id) WHERE (status IN ('received', 'queued'));
ALTER TABLE messages ENABLE ROW LEVEL SECURITY; ALTER TABLE messages FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON messages TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON messages TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON messages TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON messages TO recado_platform;

CREATE TABLE numbers (
    owner_id               uuid NOT NULL,
    id                     uuid NOT NULL,
    account_id             uuid NOT NULL,
    address                text NOT NULL,
    status                 text NOT NULL DEFAULT 'active',
    assistant_id           uuid,
    created_at             timestamptz NOT NULL DEFAULT now(),
    version                integer NOT NULL DEFAULT 1,
    messaging_service_sid  text,
    proven_at              timestamptz,
    asked_at               timestamptz,
    CONSTRAINT numbers_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT numbers_account_id_address_key UNIQUE (account_id, address),
    CONSTRAINT numbers_owner_id_account_id_fkey FOREIGN KEY (owner_id, account_id) REFERENCES
        twilio_accounts(owner_id, id),
    CONSTRAINT numbers_owner_id_assistant_id_fkey FOREIGN KEY (owner_id, assistant_id) REFERENCES assistants(owner_id,
        id),
    CONSTRAINT numbers_address_check CHECK (address <> ''),
    CONSTRAINT numbers_messaging_service_sid_check CHECK (messaging_service_sid ~ '^MG[0-9a-fA-F]{32}$'),
    CONSTRAINT numbers_status_check CHECK (status IN ('active', 'unrouted'))
);
CREATE INDEX numbers_address ON numbers (address);
CREATE TRIGGER tell_change AFTER INSERT OR DELETE OR UPDATE ON numbers FOR EACH ROW EXECUTE FUNCTION tell_change();
ALTER TABLE numbers ENABLE ROW LEVEL SECURITY; ALTER TABLE numbers FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON numbers TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON numbers TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON numbers TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON numbers TO recado_platform;

CREATE TABLE owners (
    id          uuid NOT NULL,
    name        text NOT NULL,
    status      text NOT NULL DEFAULT 'active',
    created_at  timestamptz NOT NULL DEFAULT now(),
    plan_id     uuid,
    version     integer NOT NULL DEFAULT 1,
    CONSTRAINT owners_pkey PRIMARY KEY (id),
    CONSTRAINT owners_name_key UNIQUE (name),
    CONSTRAINT owners_plan_id_fkey FOREIGN KEY (plan_id) REFERENCES plans(id),
    CONSTRAINT owners_name_check CHECK (name <> ''),
    CONSTRAINT owners_status_check CHECK (status IN ('active', 'suspended'))
);
CREATE TRIGGER grow_version BEFORE UPDATE ON owners FOR EACH ROW WHEN ((((old.name IS DISTINCT FROM new.name) OR
    (old.status IS DISTINCT FROM new.status)) OR (old.plan_id IS DISTINCT FROM new.plan_id))) EXECUTE FUNCTION
    grow_version();
CREATE TRIGGER tell_change AFTER INSERT OR DELETE OR UPDATE ON owners FOR EACH ROW EXECUTE FUNCTION tell_change();
ALTER TABLE owners ENABLE ROW LEVEL SECURITY; ALTER TABLE owners FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON owners TO recado_app USING (id = ( SELECT (NULLIF(current_setting('recado.owner_id',
    true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON owners TO recado_platform USING (true);
GRANT SELECT ON owners TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON owners TO recado_platform;

CREATE TABLE password_salts (
    one    boolean NOT NULL DEFAULT true,
    grain  bytea NOT NULL DEFAULT sha256((uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))),
    CONSTRAINT password_salts_pkey PRIMARY KEY (one),
    CONSTRAINT password_salts_one_check CHECK (one)
);
GRANT INSERT, SELECT ON password_salts TO recado_platform;

CREATE TABLE plans (
    id                     uuid NOT NULL,
    name                   text NOT NULL,
    messages               bigint,
    model_tokens           bigint,
    transcription_seconds  bigint,
    money                  bigint,
    soft_share             double precision NOT NULL DEFAULT 0.8,
    hard_action            text NOT NULL DEFAULT 'keyless',
    created_at             timestamptz NOT NULL DEFAULT now(),
    stored_bytes           bigint,
    CONSTRAINT plans_pkey PRIMARY KEY (id),
    CONSTRAINT plans_name_key UNIQUE (name),
    CONSTRAINT plans_hard_action_check CHECK (hard_action IN ('keyless', 'people')),
    CONSTRAINT plans_messages_check CHECK (messages >= 0),
    CONSTRAINT plans_model_tokens_check CHECK (model_tokens >= 0),
    CONSTRAINT plans_money_check CHECK (money >= 0),
    CONSTRAINT plans_name_check CHECK (name <> ''),
    CONSTRAINT plans_soft_share_check CHECK ((soft_share > (0)::double precision) AND (soft_share <= (1)::double
        precision)),
    CONSTRAINT plans_stored_bytes_check CHECK (stored_bytes >= 0),
    CONSTRAINT plans_transcription_seconds_check CHECK (transcription_seconds >= 0)
);
GRANT SELECT ON plans TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON plans TO recado_platform;

CREATE TABLE quarantine (
    owner_id     uuid NOT NULL,
    account_id   uuid NOT NULL,
    restored_at  timestamptz NOT NULL,
    since        timestamptz NOT NULL,
    asked_at     timestamptz,
    error        text,
    released_at  timestamptz,
    released_by  text,
    counts       jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT quarantine_pkey PRIMARY KEY (owner_id, account_id, restored_at),
    CONSTRAINT quarantine_owner_id_account_id_fkey FOREIGN KEY (owner_id, account_id) REFERENCES
        twilio_accounts(owner_id, id),
    CONSTRAINT quarantine_released CHECK ((released_at IS NULL) = (released_by IS NULL)),
    CONSTRAINT quarantine_released_by_check CHECK (released_by IN ('asked', 'unasked'))
);
ALTER TABLE quarantine ENABLE ROW LEVEL SECURITY; ALTER TABLE quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON quarantine TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON quarantine TO recado_platform USING (true);
GRANT INSERT, SELECT ON quarantine TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON quarantine TO recado_platform;

CREATE TABLE restores (
    id           uuid NOT NULL,
    set_id       uuid NOT NULL,
    moment       timestamptz NOT NULL,
    restored_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT restores_pkey PRIMARY KEY (id)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON restores TO recado_platform;

CREATE TABLE retention (
    owner_id    uuid NOT NULL,
    what        text NOT NULL,
    days        integer NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT retention_pkey PRIMARY KEY (owner_id, what),
    CONSTRAINT retention_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT retention_days_check CHECK ((days >= 1) AND (days <= 36500)),
    CONSTRAINT retention_least CHECK (days >= CASE what WHEN 'messages' THEN 3 WHEN 'audit' THEN 30 ELSE 1 END),
    CONSTRAINT retention_what_check CHECK (what IN ('messages', 'media', 'events', 'audit'))
);
ALTER TABLE retention ENABLE ROW LEVEL SECURITY; ALTER TABLE retention FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON retention TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON retention TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON retention TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON retention TO recado_platform;

CREATE TABLE schema_revision (
    version_num      character varying(32) NOT NULL,
    compatible_from  text NOT NULL DEFAULT '0036',
    functions        jsonb NOT NULL DEFAULT '{}'::jsonb,
    recado           text,
    CONSTRAINT schema_revision_pkc PRIMARY KEY (version_num)
);
GRANT SELECT ON schema_revision TO recado_app;
GRANT SELECT ON schema_revision TO recado_platform;

CREATE TABLE schema_version (
    version_num  character varying(32) NOT NULL,
    functions    jsonb NOT NULL DEFAULT '{}'::jsonb,
    recado       text,
    CONSTRAINT schema_version_pkc PRIMARY KEY (version_num)
);
GRANT SELECT ON schema_version TO recado_app;
GRANT SELECT ON schema_version TO recado_platform;

CREATE TABLE sessions (
    owner_id      uuid,
    id            uuid NOT NULL,
    user_id       uuid NOT NULL,
    token_hash    bytea NOT NULL,
    created_at    timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    revoked_at    timestamptz,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_token_hash_key UNIQUE (token_hash),
    CONSTRAINT sessions_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT sessions_owner_id_user_id_fkey FOREIGN KEY (owner_id, user_id) REFERENCES users(owner_id, id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id),
    CONSTRAINT sessions_token_hash_check CHECK (octet_length(token_hash) = 32)
);
CREATE INDEX sessions_user ON sessions (user_id) WHERE (revoked_at IS NULL);
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY; ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON sessions TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON sessions TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON sessions TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON sessions TO recado_platform;

CREATE TABLE sign_in_failures (
    subject       bytea NOT NULL,
    failures      integer NOT NULL,
    last_at       timestamptz NOT NULL,
    locked_until  timestamptz NOT NULL,
    CONSTRAINT sign_in_failures_pkey PRIMARY KEY (subject),
    CONSTRAINT sign_in_failures_subject_check CHECK (octet_length(subject) = 32)
);
CREATE INDEX sign_in_failures_last ON sign_in_failures (last_at);
GRANT DELETE, INSERT, SELECT, UPDATE ON sign_in_failures TO recado_platform;

CREATE TABLE suppressions (
    owner_id         uuid NOT NULL,
    identity_key     text NOT NULL,
    reason           text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    message_id       uuid,
    confirmation_id  uuid,
    CONSTRAINT suppressions_pkey PRIMARY KEY (owner_id, identity_key),
    CONSTRAINT suppressions_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id)
);
ALTER TABLE suppressions ENABLE ROW LEVEL SECURITY; ALTER TABLE suppressions FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON suppressions TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON suppressions TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON suppressions TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON suppressions TO recado_platform;

CREATE TABLE templates (
    owner_id          uuid NOT NULL,
    id                uuid NOT NULL,
    account_id        uuid NOT NULL,
    content_sid       text NOT NULL,
    name              text NOT NULL,
    language          text NOT NULL,
    category          text,
    status            text NOT NULL,
    rejection_reason  text,
    content_type      text NOT NULL,
    body              text NOT NULL,
    variables         text[] NOT NULL,
    synced_at         timestamptz NOT NULL,
    CONSTRAINT templates_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT templates_owner_id_account_id_content_sid_key UNIQUE (owner_id, account_id, content_sid),
    CONSTRAINT templates_owner_id_account_id_fkey FOREIGN KEY (owner_id, account_id) REFERENCES
        twilio_accounts(owner_id, id),
    CONSTRAINT templates_content_sid_check CHECK (content_sid ~ '^HX[0-9a-fA-F]{32}$')
);
ALTER TABLE templates ENABLE ROW LEVEL SECURITY; ALTER TABLE templates FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON templates TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON templates TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON templates TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON templates TO recado_platform;

CREATE TABLE turns (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    conversation_id  uuid NOT NULL,
    correlation_id   uuid NOT NULL,
    assistant_id     uuid,
    model            text,
    outcome          text NOT NULL,
    rounds           integer NOT NULL DEFAULT 1,
    input_tokens     integer NOT NULL DEFAULT 0,
    output_tokens    integer NOT NULL DEFAULT 0,
    error            text,
    started_at       timestamptz NOT NULL,
    finished_at      timestamptz NOT NULL,
    cost_micros      bigint NOT NULL DEFAULT 0,
    CONSTRAINT turns_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT turns_assistant FOREIGN KEY (owner_id, assistant_id) REFERENCES assistants(owner_id, id),
    CONSTRAINT turns_owner_id_conversation_id_fkey FOREIGN KEY (owner_id, conversation_id) REFERENCES
        conversations(owner_id, id),
    CONSTRAINT turns_outcome_check CHECK (outcome IN ('answered', 'keyless', 'apology', 'silent', 'budget',
        'unheard'))
);
CREATE INDEX turns_conversation ON turns (owner_id, conversation_id);
ALTER TABLE turns ENABLE ROW LEVEL SECURITY; ALTER TABLE turns FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON turns TO recado_app USING (owner_id = ( SELECT (NULLIF(current_setting('recado.owner_id',
    true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON turns TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON turns TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON turns TO recado_platform;

CREATE TABLE twilio_accounts (
    owner_id             uuid NOT NULL,
    id                   uuid NOT NULL,
    account_sid          text NOT NULL,
    auth_token           bytea,
    secondary_token      bytea,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    auth_token_ref       text,
    secondary_token_ref  text,
    api_key_sid          text,
    api_key_secret       bytea,
    api_key_secret_ref   text,
    public_url           text,
    version              integer NOT NULL DEFAULT 1,
    proven_at            timestamptz,
    removed_at           timestamptz,
    removed_why          text,
    CONSTRAINT twilio_accounts_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT twilio_accounts_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT twilio_accounts_account_sid_check CHECK (account_sid ~ '^AC[0-9a-fA-F]{32}$'),
    CONSTRAINT twilio_accounts_api_key_sid_check CHECK (api_key_sid ~ '^SK[0-9a-fA-F]{32}$'),
    CONSTRAINT twilio_accounts_one_api_key_secret CHECK (num_nonnulls(api_key_secret, api_key_secret_ref) = CASE WHEN
        (api_key_sid IS NULL) THEN 0 ELSE 1 END),
    CONSTRAINT twilio_accounts_one_auth_token CHECK (num_nonnulls(auth_token, auth_token_ref) = CASE WHEN (removed_at
        IS NULL) THEN 1 ELSE 0 END),
    CONSTRAINT twilio_accounts_one_secondary_token CHECK (num_nonnulls(secondary_token, secondary_token_ref) <= 1),
    CONSTRAINT twilio_accounts_public_url_check CHECK (public_url ~ '^https?://'),
    CONSTRAINT twilio_accounts_removed CHECK ((removed_at IS NULL) = (removed_why IS NULL)),
    CONSTRAINT twilio_accounts_removed_why_check CHECK (removed_why IN ('removed', 'lost'))
);
CREATE UNIQUE INDEX twilio_accounts_sid ON twilio_accounts (account_sid) WHERE (removed_at IS NULL);
CREATE INDEX twilio_accounts_sids ON twilio_accounts (account_sid);
CREATE TRIGGER forget_proof AFTER UPDATE OF removed_at ON twilio_accounts FOR EACH ROW WHEN (((new.removed_at IS NOT
    NULL) AND (old.removed_at IS NULL))) EXECUTE FUNCTION forget_proof();
CREATE TRIGGER tell_change AFTER INSERT OR DELETE OR UPDATE ON twilio_accounts FOR EACH ROW EXECUTE FUNCTION
    tell_change();
ALTER TABLE twilio_accounts ENABLE ROW LEVEL SECURITY; ALTER TABLE twilio_accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON twilio_accounts TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON twilio_accounts TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON twilio_accounts TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON twilio_accounts TO recado_platform;

CREATE TABLE usage (
    owner_id  uuid NOT NULL,
    period    date NOT NULL,
    metric    text NOT NULL,
    amount    bigint NOT NULL,
    warned    boolean NOT NULL DEFAULT false,
    models    text[] NOT NULL DEFAULT '{}'::text[],
    CONSTRAINT usage_pkey PRIMARY KEY (owner_id, period, metric),
    CONSTRAINT usage_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT usage_amount_check CHECK (amount >= 0),
    CONSTRAINT usage_metric_check CHECK (metric IN ('messages', 'model_tokens', 'transcription_seconds', 'money',
        'unpriced_tokens', 'stored_bytes')),
    CONSTRAINT usage_period_check CHECK (EXTRACT(day FROM period) = (1)::numeric)
) WITH (fillfactor=50);
ALTER TABLE usage ENABLE ROW LEVEL SECURITY; ALTER TABLE usage FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON usage TO recado_app USING (owner_id = ( SELECT (NULLIF(current_setting('recado.owner_id',
    true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON usage TO recado_platform USING (true);
GRANT INSERT, SELECT, UPDATE ON usage TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON usage TO recado_platform;

CREATE TABLE users (
    owner_id             uuid,
    id                   uuid NOT NULL,
    email                text NOT NULL,
    role                 text NOT NULL,
    status               text NOT NULL DEFAULT 'active',
    password_hash        text NOT NULL,
    password_changed_at  timestamptz NOT NULL,
    last_sign_in_at      timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    name                 text NOT NULL DEFAULT '',
    version              integer NOT NULL DEFAULT 1,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_owner_id_id_key UNIQUE (owner_id, id),
    CONSTRAINT users_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT users_email_check CHECK ((email = lower(email)) AND (email ~~ '_%@_%')),
    CONSTRAINT users_name_check CHECK (length(name) <= 200),
    CONSTRAINT users_platform_role CHECK ((owner_id IS NOT NULL) OR (role = 'admin')),
    CONSTRAINT users_role_check CHECK (role IN ('admin', 'operator', 'viewer')),
    CONSTRAINT users_status_check CHECK (status IN ('active', 'disabled'))
);
CREATE INDEX users_email ON users (email);
CREATE UNIQUE INDEX users_email_of_owner ON users (owner_id, email) NULLS NOT DISTINCT;
CREATE TRIGGER grow_version BEFORE UPDATE ON users FOR EACH ROW WHEN ((((old.name IS DISTINCT FROM new.name) OR
    (old.role IS DISTINCT FROM new.role)) OR (old.status IS DISTINCT FROM new.status))) EXECUTE FUNCTION
    grow_version();
ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON users TO recado_app USING (owner_id = ( SELECT (NULLIF(current_setting('recado.owner_id',
    true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON users TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON users TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON users TO recado_platform;

CREATE TABLE webhook_attempts (
    owner_id     uuid NOT NULL,
    id           uuid NOT NULL,
    webhook_id   uuid NOT NULL,
    event_id     bigint,
    type         text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    duration_ms  integer NOT NULL,
    outcome      text NOT NULL,
    http_status  smallint,
    CONSTRAINT webhook_attempts_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT webhook_attempts_owner_id_webhook_id_fkey FOREIGN KEY (owner_id, webhook_id) REFERENCES
        webhooks(owner_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_attempts_webhook ON webhook_attempts (owner_id, webhook_id, id);
ALTER TABLE webhook_attempts ENABLE ROW LEVEL SECURITY; ALTER TABLE webhook_attempts FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON webhook_attempts TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON webhook_attempts TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON webhook_attempts TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON webhook_attempts TO recado_platform;

CREATE TABLE webhook_waiting (
    owner_id    uuid NOT NULL,
    webhook_id  uuid NOT NULL,
    event_id    bigint NOT NULL,
    lane        uuid NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    failed_at   timestamptz,
    next_at     timestamptz NOT NULL,
    CONSTRAINT webhook_waiting_pkey PRIMARY KEY (owner_id, webhook_id, event_id),
    CONSTRAINT webhook_waiting_owner_id_webhook_id_fkey FOREIGN KEY (owner_id, webhook_id) REFERENCES
        webhooks(owner_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_waiting_lane ON webhook_waiting (owner_id, webhook_id, lane, event_id);
ALTER TABLE webhook_waiting ENABLE ROW LEVEL SECURITY; ALTER TABLE webhook_waiting FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON webhook_waiting TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON webhook_waiting TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON webhook_waiting TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON webhook_waiting TO recado_platform;

CREATE TABLE webhooks (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    url              text NOT NULL,
    description      text NOT NULL DEFAULT '',
    types            text[] NOT NULL DEFAULT '{}'::text[],
    secret           bytea NOT NULL,
    previous_secret  bytea,
    previous_until   timestamptz,
    status           text NOT NULL DEFAULT 'enabled',
    disabled_why     text,
    disabled_at      timestamptz,
    reached          bigint NOT NULL,
    next_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    failures         integer NOT NULL DEFAULT 0,
    failing_since    timestamptz,
    last_success_at  timestamptz,
    holder           text,
    held_until       timestamptz,
    fence            bigint NOT NULL DEFAULT 0,
    version          integer NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT webhooks_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES owners(id),
    CONSTRAINT webhooks_description_check CHECK (length(description) <= 200),
    CONSTRAINT webhooks_disabled CHECK ((status = 'disabled') = (disabled_why IS NOT NULL)),
    CONSTRAINT webhooks_disabled_why_check CHECK (disabled_why IN ('people', 'gone', 'failing')),
    CONSTRAINT webhooks_previous CHECK ((previous_secret IS NULL) = (previous_until IS NULL)),
    CONSTRAINT webhooks_status_check CHECK (status IN ('enabled', 'disabled')),
    CONSTRAINT webhooks_url_check CHECK ((url ~ '^https?://') AND (length(url) <= 2048))
) WITH (fillfactor=70);
CREATE INDEX webhooks_due ON webhooks (next_at) WHERE (status = 'enabled');
ALTER TABLE webhooks ENABLE ROW LEVEL SECURITY; ALTER TABLE webhooks FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON webhooks TO recado_app USING (owner_id = ( SELECT
    (NULLIF(current_setting('recado.owner_id', true), ''))::uuid AS "nullif"));
CREATE POLICY platform ON webhooks TO recado_platform USING (true);
GRANT DELETE, INSERT, SELECT, UPDATE ON webhooks TO recado_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON webhooks TO recado_platform;

CREATE TABLE workflow_versions (
    version     text NOT NULL,
    draining    boolean NOT NULL DEFAULT false,
    first_at    timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflow_versions_pkey PRIMARY KEY (version)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON workflow_versions TO recado_platform;

-- functions/account_by_sid.sql: account_by_sid(sid text) RETURNS TABLE(owner_id uuid, owner_status text, id uuid,
--     auth_token bytea, auth_token_ref text, secondary_token bytea, secondary_token_ref text, public_url text); works
--     as recado_platform
REVOKE ALL ON FUNCTION account_by_sid(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION account_by_sid(text) TO recado_app;
-- functions/administrator_stands.sql: administrator_stands(who uuid) RETURNS boolean; works as recado_platform
REVOKE ALL ON FUNCTION administrator_stands(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION administrator_stands(uuid) TO recado_app;
-- functions/api_key_by_hash.sql: api_key_by_hash(hash bytea) RETURNS TABLE(owner_id uuid, id uuid, name text, scopes
--     text[], expires_at timestamptz, last_used_at timestamptz); works as recado_platform
REVOKE ALL ON FUNCTION api_key_by_hash(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION api_key_by_hash(bytea) TO recado_app;
-- functions/assistant_of.sql: assistant_of(whose uuid, number uuid) RETURNS SETOF assistants
-- functions/consent_key.sql: consent_key(whose uuid, identity text) RETURNS bigint
-- functions/consent_lock.sql: consent_lock(whose uuid, message uuid) RETURNS text
-- functions/count_stored.sql: count_stored() RETURNS trigger; works as recado_platform
REVOKE ALL ON FUNCTION count_stored() FROM PUBLIC;
-- functions/enqueue.sql: enqueue(name text, queue text, args json[], workflow_id text, conversation_id uuid) RETURNS
--     text
-- functions/enqueue_across.sql: enqueue_across(name text, queue text, args json[], workflow_id text,
--     queue_partition_key text DEFAULT NULL) RETURNS text; works as recado_engine
REVOKE ALL ON FUNCTION enqueue_across(text,text,json[],text,text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enqueue_across(text,text,json[],text,text) TO recado_platform;
-- functions/enqueue_delivery.sql: enqueue_delivery(owner_id uuid, conversation_id uuid, message_id uuid, workflow_id
--     text) RETURNS text
-- functions/enqueue_media.sql: enqueue_media(owner_id uuid, conversation_id uuid, message_id uuid, received_at
--     timestamptz, voice boolean, workflow_id text) RETURNS text
-- functions/enqueue_turn.sql: enqueue_turn(owner_id uuid, conversation_id uuid, turn_id uuid, received_at
--     timestamptz, workflow_id text) RETURNS text
-- functions/enqueue_work.sql: enqueue_work(name text, queue text, args json[], workflow_id text, queue_partition_key
--     text DEFAULT NULL) RETURNS text; works as recado_engine
REVOKE ALL ON FUNCTION enqueue_work(text,text,json[],text,text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enqueue_work(text,text,json[],text,text) TO recado_app;
-- functions/erase_work.sql: erase_work(lanes text[], ended boolean) RETURNS TABLE(gone bigint, in_work bigint); works
--     as recado_engine
REVOKE ALL ON FUNCTION erase_work(text[],boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_work(text[],boolean) TO recado_platform;
-- functions/events_needed.sql: events_needed(whose uuid) RETURNS bigint
-- functions/events_settled.sql: events_settled() RETURNS bigint
-- functions/executor_deaths_since.sql: executor_deaths_since(moment timestamptz) RETURNS integer; works as
--     recado_platform
REVOKE ALL ON FUNCTION executor_deaths_since(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION executor_deaths_since(timestamptz) TO recado_app;
-- functions/forget_proof.sql: forget_proof() RETURNS trigger; works as recado_platform
REVOKE ALL ON FUNCTION forget_proof() FROM PUBLIC;
-- functions/forget_words.sql: forget_words() RETURNS trigger
-- functions/grow_version.sql: grow_version() RETURNS trigger
-- functions/has_voice.sql: has_voice(whose uuid, message uuid, kind text) RETURNS boolean
-- functions/has_work.sql: has_work(workflow_id text) RETURNS boolean; works as recado_engine
REVOKE ALL ON FUNCTION has_work(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION has_work(text) TO recado_app;
-- functions/heed.sql: heed(whose uuid, message uuid, conversation uuid, identity text, action text) RETURNS boolean
-- functions/is_own_number.sql: is_own_number(identity_key text) RETURNS boolean; works as recado_platform
REVOKE ALL ON FUNCTION is_own_number(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_own_number(text) TO recado_app;
-- functions/kept_bytes.sql: kept_bytes(m media) RETURNS bigint
-- functions/lane.sql: lane(owner_id text, conversation_id text) RETURNS text
-- functions/learn_words.sql: learn_words() RETURNS trigger
-- functions/lose_unproven_account.sql: lose_unproven_account(sid text, at timestamptz) RETURNS boolean; works as
--     recado_platform
REVOKE ALL ON FUNCTION lose_unproven_account(text,timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lose_unproven_account(text,timestamptz) TO recado_app;
-- functions/meter.sql: meter(whose uuid, what text, much bigint, at timestamptz) RETURNS void
-- functions/meter_part.sql: meter_part() RETURNS trigger; works as recado_platform
REVOKE ALL ON FUNCTION meter_part() FROM PUBLIC;
-- functions/meter_unpriced.sql: meter_unpriced(whose uuid, called text, much bigint, at timestamptz) RETURNS void
-- functions/next_event_id.sql: next_event_id() RETURNS bigint
-- functions/password_salt.sql: password_salt(address text) RETURNS bytea; works as recado_platform
REVOKE ALL ON FUNCTION password_salt(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION password_salt(text) TO recado_app;
-- functions/prove_numbers.sql: prove_numbers(account uuid, has text[], shared text[], at timestamptz) RETURNS void;
--     works as recado_platform
REVOKE ALL ON FUNCTION prove_numbers(uuid,text[],text[],timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prove_numbers(uuid,text[],text[],timestamptz) TO recado_app;
-- functions/refused.sql: refused(whose uuid, message uuid, nth smallint, code integer) RETURNS boolean
-- functions/session_by_hash.sql: session_by_hash(hash bytea) RETURNS TABLE(owner_id uuid, id uuid, user_id uuid,
--     created_at timestamptz, last_seen_at timestamptz, revoked_at timestamptz, role text, email text); works as
--     recado_platform
REVOKE ALL ON FUNCTION session_by_hash(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION session_by_hash(bytea) TO recado_app;
-- functions/session_seen.sql: session_seen(hash bytea, at timestamptz) RETURNS void; works as recado_platform
REVOKE ALL ON FUNCTION session_seen(bytea,timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION session_seen(bytea,timestamptz) TO recado_app;
-- functions/tell_change.sql: tell_change() RETURNS trigger
-- functions/unite.sql: unite(whose uuid, own_key text, scoped text) RETURNS void
-- functions/uuid_floor.sql: uuid_floor(moment timestamptz) RETURNS uuid
-- functions/words_slot.sql: words_slot(whose uuid) RETURNS smallint
-- functions/work_stands.sql: work_stands() RETURNS TABLE(queue text, status text, version text, amount bigint, due
--     bigint, oldest_s double precision); works as recado_engine
REVOKE ALL ON FUNCTION work_stands() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work_stands() TO recado_platform;
-- functions/work_waits.sql: work_waits(queues text[], most integer) RETURNS TABLE(queue text, depth bigint, oldest_s
--     double precision); works as recado_engine
REVOKE ALL ON FUNCTION work_waits(text[],integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work_waits(text[],integer) TO recado_platform;

CREATE SEQUENCE audit_id_seq;
GRANT USAGE ON SEQUENCE audit_id_seq TO recado_app;
GRANT USAGE ON SEQUENCE audit_id_seq TO recado_platform;
CREATE SEQUENCE events_id_seq;
GRANT USAGE ON SEQUENCE events_id_seq TO recado_app;
GRANT USAGE ON SEQUENCE events_id_seq TO recado_platform;
CREATE SEQUENCE executor_deaths_id_seq;
