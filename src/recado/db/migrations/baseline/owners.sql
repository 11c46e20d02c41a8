-- Owners, what they may use by their plan, and what they have used.

-- Limits of a month; null is without one.
CREATE TABLE plans (
    id                     uuid PRIMARY KEY,
    name                   text NOT NULL UNIQUE CHECK (name <> ''),
    messages               bigint CHECK (messages >= 0),
    model_tokens           bigint CHECK (model_tokens >= 0),
    transcription_seconds  bigint CHECK (transcription_seconds >= 0),
    money                  bigint CHECK (money >= 0),
    soft_share             double precision NOT NULL DEFAULT 0.8 CHECK (soft_share > 0 AND soft_share <= 1),
    hard_action            text NOT NULL DEFAULT 'keyless' CHECK (hard_action IN ('keyless', 'people')),
    created_at             timestamptz NOT NULL DEFAULT now(),
    stored_bytes           bigint CHECK (stored_bytes >= 0)
);

-- What people change of one is counted in `version`, by a trigger.
CREATE TABLE owners (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    plan_id     uuid REFERENCES plans,
    version     int NOT NULL DEFAULT 1
);

-- What an owner used in a month. `stored_bytes` is a stock: its one row has the first of all periods.
CREATE TABLE usage (
    owner_id  uuid NOT NULL REFERENCES owners,
    period    date NOT NULL CHECK (extract(day FROM period) = 1),
    metric    text NOT NULL CHECK (metric IN ('messages', 'model_tokens', 'transcription_seconds', 'money',
              'unpriced_tokens', 'stored_bytes')),
    amount    bigint NOT NULL CHECK (amount >= 0),
    -- Whether it was told that the plan's soft share is reached.
    warned    boolean NOT NULL DEFAULT false,
    -- Models without a price that were told of.
    models    text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (owner_id, period, metric)
) WITH (fillfactor = 50);
