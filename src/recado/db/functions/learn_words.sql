-- Puts the words of entries that came into `knowledge_places` and `knowledge_words`. What is placed already has
-- not changed.
CREATE OR REPLACE FUNCTION learn_words() RETURNS trigger
-- Nested loops alone: nothing is known of how long the lists are, and a hash over everybody's words would be the price
-- of a wrong guess.
LANGUAGE plpgsql SET search_path = recado, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off AS $$
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
        MERGE INTO knowledge_words k
        USING (SELECT c.lexeme, c.entries::int AS entries FROM counted c) n
        ON k.owner_id = whose AND k.lexeme = n.lexeme AND k.slot = taken
        WHEN MATCHED AND k.entries + n.entries = 0 THEN DELETE
        WHEN MATCHED THEN UPDATE SET entries = k.entries + n.entries
        WHEN NOT MATCHED THEN INSERT (owner_id, lexeme, slot, entries) VALUES (whose, n.lexeme, taken, n.entries);
    END LOOP;
    RETURN NULL;
END
$$;
