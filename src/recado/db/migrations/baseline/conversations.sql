-- Contacts, what they want to be sent, their conversations, and the assistants' turns in them.

-- A person on WhatsApp, by a number or a business-scoped id.
CREATE TABLE contacts (
    owner_id      uuid NOT NULL REFERENCES owners,
    id            uuid NOT NULL,
    identity_key  text NOT NULL,
    address       text NOT NULL,
    profile_name  text,
    language      text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- When they were last told of being over the limit of messages.
    courtesy_at   timestamptz,
    -- The business-scoped id, which may come without their number, or came before it.
    external_id   text,
    -- `people` said it, or it is `written`: told by what the contact writes, which never changes what people said.
    language_why  text CHECK (language_why IN ('people', 'written')),
    version       int NOT NULL DEFAULT 1,
    -- Of anybody who said so, opted out or not: Twilio may have blocked them without our having heard of it yet.
    opted_in_at   timestamptz,
    PRIMARY KEY (owner_id, id),
    CONSTRAINT contacts_identity_key UNIQUE (identity_key, owner_id),
    CONSTRAINT contacts_language_why CHECK ((language IS NULL) = (language_why IS NULL))
) WITH (fillfactor = 90);

-- Who wants no messages, and why.
CREATE TABLE suppressions (
    owner_id         uuid NOT NULL REFERENCES owners,
    identity_key     text NOT NULL,
    reason           text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    -- The message that asked for it, and the one message that may go out all the same: its confirmation.
    message_id       uuid,
    confirmation_id  uuid,
    PRIMARY KEY (owner_id, identity_key)
);

-- Words of an owner's own by which contacts opt out and in.
CREATE TABLE consent_words (
    owner_id    uuid NOT NULL REFERENCES owners,
    id          uuid NOT NULL,
    word        text NOT NULL CHECK (word <> ''),
    action      text NOT NULL CHECK (action IN ('stop', 'start')),
    language    text CHECK (language IN ('pt', 'es', 'en')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, id),
    UNIQUE (owner_id, word)
);

-- At most one that is not closed for a number and a contact.
CREATE TABLE conversations (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    number_id        uuid NOT NULL,
    contact_id       uuid NOT NULL,
    status           text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'handoff', 'closed')),
    attention        text,
    close_reason     text,
    assignee         uuid,
    -- None where the owner wrote first.
    last_inbound_at  timestamptz,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    closed_at        timestamptz,
    version          int NOT NULL DEFAULT 1,
    budget_told      date,
    -- When it last went to people for going in circles.
    circled_at       timestamptz,
    PRIMARY KEY (owner_id, id),
    CONSTRAINT conversations_assignee FOREIGN KEY (owner_id, assignee) REFERENCES users (owner_id, id),
    FOREIGN KEY (owner_id, contact_id) REFERENCES contacts,
    FOREIGN KEY (owner_id, number_id) REFERENCES numbers
) WITH (fillfactor = 85);

-- One pass of an assistant over what had come since the last answer.
CREATE TABLE turns (
    owner_id         uuid NOT NULL,
    id               uuid NOT NULL,
    conversation_id  uuid NOT NULL,
    correlation_id   uuid NOT NULL,
    assistant_id     uuid,
    model            text,
    outcome          text NOT NULL CHECK (outcome IN ('answered', 'keyless', 'apology', 'silent', 'budget',
                     'unheard')),
    rounds           int NOT NULL DEFAULT 1,
    input_tokens     int NOT NULL DEFAULT 0,
    output_tokens    int NOT NULL DEFAULT 0,
    error            text,
    started_at       timestamptz NOT NULL,
    finished_at      timestamptz NOT NULL,
    cost_micros      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (owner_id, id),
    CONSTRAINT turns_assistant FOREIGN KEY (owner_id, assistant_id) REFERENCES assistants,
    FOREIGN KEY (owner_id, conversation_id) REFERENCES conversations
);
