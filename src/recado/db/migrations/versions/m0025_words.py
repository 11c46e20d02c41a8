"""Where the words of knowledge stand, so that a search reads few rows however much an owner knows.

`knowledge_places` has a row for each lexeme of an entry, `knowledge_words` how many entries have it; the empty lexeme
counts them all. A count is the sum of its slots: who writes takes a slot that nobody else has, so that two transactions
of an owner need not wait for each other. Both are looked into by equality alone, which is leakproof: row-level
security does not keep their indexes from being used, as it would a GIN index's. Triggers keep them in step with
`knowledge.search`.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# Of a lexeme's places those in a title come first.
TABLES = """
CREATE TABLE knowledge_words (
    owner_id  uuid NOT NULL REFERENCES owners,
    lexeme    text COLLATE "C" NOT NULL,
    slot      smallint NOT NULL,
    entries   int NOT NULL CHECK (entries <> 0),
    PRIMARY KEY (owner_id, lexeme, slot)
);

CREATE TABLE knowledge_places (
    owner_id    uuid NOT NULL REFERENCES owners,
    lexeme      text COLLATE "C" NOT NULL,
    in_content  boolean NOT NULL,
    entry_id    uuid NOT NULL,
    PRIMARY KEY (owner_id, lexeme, in_content, entry_id)
);
"""

#: So many transactions of one owner write at once without waiting for each other.
SLOTS = 8

SLOT = f"""
CREATE FUNCTION words_slot(whose uuid) RETURNS smallint LANGUAGE plpgsql AS $$
BEGIN
    FOR slot IN 0..{SLOTS - 2} LOOP
        IF pg_try_advisory_xact_lock(hashtextextended('words of ' || whose, slot)) THEN
            RETURN slot;
        END IF;
    END LOOP;
    PERFORM pg_advisory_xact_lock(hashtextextended('words of ' || whose, {SLOTS - 1}));
    RETURN {SLOTS - 1};
END
$$
"""

# Nested loops alone: nothing is known of how long the lists are, and a hash over everybody's words would be the price
# of a wrong guess.
_SETTINGS = "SET search_path = recado, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off"

# Of an entry that was only moved the words are left alone.
_CHANGED = """
    SELECT * FROM gone WHERE TG_OP = 'DELETE' OR search IS DISTINCT FROM
        (SELECT k.search FROM knowledge k WHERE k.owner_id = gone.owner_id AND k.id = gone.id) OFFSET 0
"""

# The slots come first: one is chosen once for an owner.
_MERGE = """
    slots AS MATERIALIZED (
        SELECT owner_id, words_slot(owner_id) AS slot FROM (SELECT DISTINCT owner_id FROM counted OFFSET 0) owners
    )
    MERGE INTO knowledge_words k
    USING (SELECT c.owner_id, c.lexeme, s.slot, c.entries::int AS entries
           FROM counted c JOIN slots s USING (owner_id)) n
    ON k.owner_id = n.owner_id AND k.lexeme = n.lexeme AND k.slot = n.slot
    WHEN MATCHED AND k.entries + n.entries = 0 THEN DELETE
    WHEN MATCHED THEN UPDATE SET entries = k.entries + n.entries
    WHEN NOT MATCHED THEN INSERT (owner_id, lexeme, slot, entries) VALUES (n.owner_id, n.lexeme, n.slot, n.entries);
"""

FORGET = f"""
CREATE FUNCTION forget_words() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$
BEGIN
    WITH lost AS MATERIALIZED (
        SELECT g.owner_id, g.id, w.lexeme, NOT 'A' = ANY(w.weights) AS in_content
        FROM ({_CHANGED}) g, unnest(g.search) w
    ), displaced AS (
        DELETE FROM knowledge_places p USING lost
        WHERE p.owner_id = lost.owner_id AND p.lexeme = lost.lexeme AND p.in_content = lost.in_content
          AND p.entry_id = lost.id
    ), counted AS MATERIALIZED (
        SELECT owner_id, lexeme, -count(*) AS entries FROM lost GROUP BY owner_id, lexeme
        UNION ALL SELECT owner_id, '', -count(*) FROM gone WHERE TG_OP = 'DELETE' GROUP BY owner_id
    ), {_MERGE}
    RETURN NULL;
END
$$
"""  # noqa: S608 - a constant

# What is placed already has not changed.
LEARN = f"""
CREATE FUNCTION learn_words() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$
BEGIN
    WITH placed AS (
        INSERT INTO knowledge_places (owner_id, lexeme, in_content, entry_id)
        SELECT c.owner_id, w.lexeme, NOT 'A' = ANY(w.weights), c.id FROM come c, unnest(c.search) w
        ON CONFLICT DO NOTHING
        RETURNING owner_id, lexeme
    ), counted AS MATERIALIZED (
        SELECT owner_id, lexeme, count(*) AS entries FROM placed GROUP BY owner_id, lexeme
        UNION ALL SELECT owner_id, '', count(*) FROM come WHERE TG_OP = 'INSERT' GROUP BY owner_id
    ), {_MERGE}
    RETURN NULL;
END
$$
"""  # noqa: S608 - a constant

# Triggers of one event fire in the order of their names: what is gone is forgotten before what came is learnt.
TRIGGERS = """
CREATE TRIGGER words_forgotten AFTER DELETE ON knowledge REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_words();
CREATE TRIGGER words_a_forgotten AFTER UPDATE ON knowledge REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_words();
CREATE TRIGGER words_b_learnt AFTER UPDATE ON knowledge REFERENCING NEW TABLE AS come
    FOR EACH STATEMENT EXECUTE FUNCTION learn_words();
CREATE TRIGGER words_learnt AFTER INSERT ON knowledge REFERENCING NEW TABLE AS come
    FOR EACH STATEMENT EXECUTE FUNCTION learn_words();
"""

# The tables' owner is held to row-level security too, and has no policy of its own: for this it is let through.
FILL = """
ALTER TABLE knowledge NO FORCE ROW LEVEL SECURITY;
INSERT INTO knowledge_places (owner_id, lexeme, in_content, entry_id)
SELECT k.owner_id, w.lexeme, NOT 'A' = ANY(w.weights), k.id FROM knowledge k, unnest(k.search) w;
INSERT INTO knowledge_words (owner_id, lexeme, slot, entries)
SELECT owner_id, lexeme, 0, count(*) FROM knowledge_places GROUP BY owner_id, lexeme
UNION ALL SELECT owner_id, '', 0, count(*) FROM knowledge GROUP BY owner_id;
ALTER TABLE knowledge FORCE ROW LEVEL SECURITY;
"""


def upgrade() -> None:
    """Make the tables, fill them from what is known already, and keep them so."""
    op.execute(TABLES)
    op.execute(SLOT)
    op.execute(FORGET)
    op.execute(LEARN)
    op.execute(FILL)
    op.execute(TRIGGERS)
    own(op, "knowledge_words", "knowledge_places")
