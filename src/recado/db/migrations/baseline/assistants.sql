-- Assistants, and the entries of knowledge that they answer from.

CREATE TABLE assistants (
    owner_id           uuid NOT NULL REFERENCES owners,
    id                 uuid NOT NULL,
    name               text NOT NULL CHECK (name <> ''),
    is_default         boolean NOT NULL DEFAULT false,
    instructions       text NOT NULL DEFAULT '',
    model              text,
    language           text NOT NULL DEFAULT 'pt',
    apology            text,
    updated_at         timestamptz NOT NULL DEFAULT now(),
    created_at         timestamptz NOT NULL DEFAULT now(),
    version            int NOT NULL DEFAULT 1,
    -- Whether the model is given pictures; null: by what is known of it.
    sees               boolean,
    -- What carries a reply when the 24 hours are over: {"content_sid", "variables": {name: text}}.
    fallback_template  jsonb,
    -- Whether it may send its owner's templates by itself.
    templates          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (owner_id, id),
    UNIQUE (owner_id, name)
);

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
    UNIQUE (owner_id, source, ordinal) DEFERRABLE
);

-- How many entries have a lexeme; the empty one counts them all. A count is the sum of its slots: who writes takes a
-- slot that nobody else has, so that two transactions of an owner need not wait for each other.
CREATE TABLE knowledge_words (
    owner_id  uuid NOT NULL REFERENCES owners,
    lexeme    text COLLATE "C" NOT NULL,
    slot      smallint NOT NULL,
    entries   int NOT NULL CHECK (entries <> 0),
    PRIMARY KEY (owner_id, lexeme, slot)
);

-- Where a lexeme stands; of its places those in a title come first. Both are looked into by equality alone, which is
-- leakproof: row-level security does not keep their indexes from being used, as it would a GIN index's.
CREATE TABLE knowledge_places (
    owner_id    uuid NOT NULL REFERENCES owners,
    lexeme      text COLLATE "C" NOT NULL,
    in_content  boolean NOT NULL,
    entry_id    uuid NOT NULL,
    PRIMARY KEY (owner_id, lexeme, in_content, entry_id)
);
