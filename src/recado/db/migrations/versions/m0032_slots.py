"""A writer of words sees what the slot's last one wrote; recovery finds what waits of each owner.

The slot was taken in the statement that then counted the words, whose snapshot is older than its slot: what the one
before had just committed there was not seen, and inserted again, which failed, where two wrote at once already.
"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0030"
branch_labels = None
depends_on = None

_SETTINGS = "SET search_path = recado, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off"

_CHANGED = """
    SELECT * FROM gone WHERE owner_id = whose AND (TG_OP = 'DELETE' OR search IS DISTINCT FROM
        (SELECT k.search FROM knowledge k WHERE k.owner_id = gone.owner_id AND k.id = gone.id)) OFFSET 0
"""

_MERGE = """
    MERGE INTO knowledge_words k
    USING (SELECT c.lexeme, c.entries::int AS entries FROM counted c) n
    ON k.owner_id = whose AND k.lexeme = n.lexeme AND k.slot = taken
    WHEN MATCHED AND k.entries + n.entries = 0 THEN DELETE
    WHEN MATCHED THEN UPDATE SET entries = k.entries + n.entries
    WHEN NOT MATCHED THEN INSERT (owner_id, lexeme, slot, entries) VALUES (whose, n.lexeme, taken, n.entries);
"""

FORGET = f"""
CREATE OR REPLACE FUNCTION forget_words() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$
DECLARE
    whose uuid;
    taken smallint;
BEGIN
    FOR whose IN SELECT DISTINCT owner_id FROM gone ORDER BY owner_id LOOP
        CONTINUE WHEN NOT EXISTS ({_CHANGED});
        -- A statement of its own: the next one sees what was committed until now.
        taken := words_slot(whose);
        WITH lost AS MATERIALIZED (
            SELECT g.owner_id, g.id, w.lexeme, NOT 'A' = ANY(w.weights) AS in_content
            FROM ({_CHANGED}) g, unnest(g.search) w
        ), displaced AS (
            DELETE FROM knowledge_places p USING lost
            WHERE p.owner_id = lost.owner_id AND p.lexeme = lost.lexeme AND p.in_content = lost.in_content
              AND p.entry_id = lost.id
        ), counted AS MATERIALIZED (
            SELECT lexeme, -count(*) AS entries FROM lost GROUP BY lexeme
            UNION ALL SELECT '', -count(*) FROM gone WHERE TG_OP = 'DELETE' AND owner_id = whose HAVING count(*) > 0
        )
        {_MERGE}
    END LOOP;
    RETURN NULL;
END
$$
"""  # noqa: S608 - a constant

LEARN = f"""
CREATE OR REPLACE FUNCTION learn_words() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$
DECLARE
    whose uuid;
    taken smallint;
BEGIN
    FOR whose IN SELECT DISTINCT owner_id FROM come ORDER BY owner_id LOOP
        taken := words_slot(whose);
        WITH placed AS (
            INSERT INTO knowledge_places (owner_id, lexeme, in_content, entry_id)
            SELECT c.owner_id, w.lexeme, NOT 'A' = ANY(w.weights), c.id FROM come c, unnest(c.search) w
            WHERE c.owner_id = whose
            ON CONFLICT DO NOTHING
            RETURNING lexeme
        ), counted AS MATERIALIZED (
            SELECT lexeme, count(*) AS entries FROM placed GROUP BY lexeme
            UNION ALL SELECT '', count(*) FROM come WHERE TG_OP = 'INSERT' AND owner_id = whose HAVING count(*) > 0
        )
        {_MERGE}
    END LOOP;
    RETURN NULL;
END
$$
"""  # noqa: S608 - a constant


def upgrade() -> None:
    """Replace the two functions, and an index; nothing that is stored changes."""
    op.execute(FORGET)
    op.execute(LEARN)
    # Recovery asks each owner's oldest first.
    op.execute("DROP INDEX messages_waiting")
    op.execute("CREATE INDEX messages_waiting ON messages (owner_id, id) WHERE status IN ('received', 'queued')")
