-- Messages, what came or goes with them, the parts that are posted, each attempt at one, and what happened.

-- One inbound or outbound message.
CREATE TABLE messages (
    owner_id             uuid NOT NULL,
    id                   uuid NOT NULL,
    conversation_id      uuid NOT NULL,
    account_id           uuid NOT NULL,
    direction            text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    author               text NOT NULL CHECK (author IN ('contact', 'assistant', 'operator', 'system', 'api')),
    kind                 text NOT NULL DEFAULT 'text' CHECK (kind ~ '^[a-z][a-z_-]{0,31}$'),
    body                 text NOT NULL,
    status               text NOT NULL CHECK (status IN ('received', 'unrouted', 'answered', 'held', 'queued',
                         'accepted', 'scheduled', 'sending', 'sent', 'canceled', 'failed', 'undelivered',
                         'partially_delivered', 'delivered', 'read')),
    error_code           int,
    provider_sid         text,
    correlation_id       uuid NOT NULL,
    reply_to             uuid,
    turn_id              uuid,
    parameters           jsonb,
    received_at          timestamptz NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    transcript           text,
    transcript_language  text,
    -- While its attachments are fetched and its voice is made text: no turn takes it before.
    awaits_media         boolean NOT NULL DEFAULT false,
    -- What an outbound message is when it is not just its body.
    content              jsonb,
    -- A word for why an outbound message is held or failed where Twilio's code does not say it.
    reason               text,
    -- `conversations/holding` says what each means; what passes by itself is tried again at `look_again_at`.
    held_for             text CHECK (held_for IN ('people', 'limit', 'budget', 'window', 'setup', 'quota', 'look',
                         'loop', 'broken', 'channel', 'owner', 'opted_out')),
    look_again_at        timestamptz,
    -- How often work for it began and never ended, 0 again when it has; and when it first did.
    starts               smallint NOT NULL DEFAULT 0,
    begun_at             timestamptz,
    PRIMARY KEY (owner_id, id),
    CONSTRAINT messages_account FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts,
    FOREIGN KEY (owner_id, conversation_id) REFERENCES conversations,
    CONSTRAINT messages_reply_to FOREIGN KEY (owner_id, reply_to) REFERENCES messages,
    CONSTRAINT messages_turn FOREIGN KEY (owner_id, turn_id) REFERENCES turns,
    CONSTRAINT messages_held_for_when_held CHECK ((status = 'held') = (held_for IS NOT NULL))
) WITH (fillfactor = 85);

-- Attachments: what came with a message, or will go with one, and what became of fetching it.
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
    -- What a document says.
    text            text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    settled_at      timestamptz,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, message_id) REFERENCES messages
);

-- What is posted to Twilio of an outbound message, in order.
CREATE TABLE message_parts (
    owner_id      uuid NOT NULL,
    message_id    uuid NOT NULL,
    part          smallint NOT NULL,
    body          text NOT NULL,
    status        text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'accepted', 'scheduled', 'queued',
                  'sending', 'sent', 'canceled', 'failed', 'undelivered', 'partially_delivered', 'delivered',
                  'read')),
    provider_sid  text,
    -- MessageSids that came to nothing.
    retired_sids  text[] NOT NULL DEFAULT '{}',
    error_code    int,
    taken_at      timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    content       jsonb,
    -- When Twilio was last asked after it.
    asked_at      timestamptz,
    PRIMARY KEY (owner_id, message_id, part),
    FOREIGN KEY (owner_id, message_id) REFERENCES messages
) WITH (fillfactor = 85);

-- Recorded before the part is posted: an outcome that nobody saw is looked up before another.
CREATE TABLE delivery_attempts (
    owner_id     uuid NOT NULL,
    id           uuid NOT NULL,
    message_id   uuid NOT NULL,
    part         smallint NOT NULL,
    outcome      text NOT NULL DEFAULT 'started' CHECK (outcome IN ('started', 'taken', 'refused', 'unknown',
                 'not_taken')),
    error_class  text,
    error_code   int,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    -- Where it was posted to: Twilio's list is asked for that address, whatever the contact's is by then.
    address      text,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, message_id, part) REFERENCES message_parts
) WITH (fillfactor = 85);

-- What happened, append-only. An id is given by `next_event_id`, so that none comes to be seen late.
CREATE SEQUENCE events_id_seq;
CREATE TABLE events (
    id               bigint NOT NULL DEFAULT next_event_id(),
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
ALTER SEQUENCE events_id_seq OWNED BY events.id;
