-- Twilio accounts, their numbers, and what they have there as Content.

-- A secret has a twin that ends in `_ref`, and a row has one of the two. One that was proven belongs to its owner, one
-- that was only claimed is lost to whoever proves it. A removed one stays, without its secrets: rows point at it.
CREATE TABLE twilio_accounts (
    owner_id             uuid NOT NULL REFERENCES owners,
    id                   uuid NOT NULL,
    account_sid          text NOT NULL CHECK (account_sid ~ '^AC[0-9a-fA-F]{32}$'),
    auth_token           bytea,
    secondary_token      bytea,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    auth_token_ref       text,
    secondary_token_ref  text,
    api_key_sid          text CHECK (api_key_sid ~ '^SK[0-9a-fA-F]{32}$'),
    api_key_secret       bytea,
    api_key_secret_ref   text,
    public_url           text CHECK (public_url ~ '^https?://'),
    version              int NOT NULL DEFAULT 1,
    -- Since Twilio took its credentials.
    proven_at            timestamptz,
    removed_at           timestamptz,
    removed_why          text CHECK (removed_why IN ('removed', 'lost')),
    PRIMARY KEY (owner_id, id),
    CONSTRAINT twilio_accounts_one_api_key_secret CHECK (
        num_nonnulls(api_key_secret, api_key_secret_ref) = CASE WHEN api_key_sid IS NULL THEN 0 ELSE 1 END),
    CONSTRAINT twilio_accounts_one_auth_token CHECK (
        num_nonnulls(auth_token, auth_token_ref) = CASE WHEN removed_at IS NULL THEN 1 ELSE 0 END),
    CONSTRAINT twilio_accounts_one_secondary_token CHECK (num_nonnulls(secondary_token, secondary_token_ref) <= 1),
    CONSTRAINT twilio_accounts_removed CHECK ((removed_at IS NULL) = (removed_why IS NULL))
);

-- A number is proven once Twilio has said that its account has it; else it says nothing of other owners' contacts.
CREATE TABLE numbers (
    owner_id               uuid NOT NULL,
    id                     uuid NOT NULL,
    account_id             uuid NOT NULL,
    address                text NOT NULL CHECK (address <> ''),
    status                 text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'unrouted')),
    assistant_id           uuid,
    created_at             timestamptz NOT NULL DEFAULT now(),
    version                int NOT NULL DEFAULT 1,
    messaging_service_sid  text CHECK (messaging_service_sid ~ '^MG[0-9a-fA-F]{32}$'),
    proven_at              timestamptz,
    -- When Twilio was last asked what its account has.
    asked_at               timestamptz,
    PRIMARY KEY (owner_id, id),
    FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts,
    FOREIGN KEY (owner_id, assistant_id) REFERENCES assistants,
    UNIQUE (account_id, address)
);

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

-- What Twilio has approved, or not, as of `synced_at`.
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
