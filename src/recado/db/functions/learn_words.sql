-- Puts the words of entries that came into `knowledge_places` and `knowledge_words`. What is placed already has
-- not changed.
CREATE OR REPLACE FUNCTION learn_words() RETURNS trigger
-- Nested loops alone: nothing is known of how long the lists are, and a hash over everybody's words would be the price
-- of a wrong guess.
LANGUAGE plpgsql SET search_path = recado, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH placed AS (
        INSERT INTO knowledge_places (owner_id, lexeme, in_content, entry_id)
        SELECT c.owner_id, w.lexeme, NOT 'A' = ANY(w.weights), c.id FROM come c, unnest(c.search) w
        ON CONFLICT DO NOTHING
        RETURNING owner_id, lexeme
    ), counted AS MATERIALIZED (
        SELECT owner_id, lexeme, count(*) AS entries FROM placed GROUP BY owner_id, lexeme
        UNION ALL SELECT owner_id, '', count(*) FROM come WHERE TG_OP = 'INSERT' GROUP BY owner_id
    ), slots AS MATERIALIZED (
        -- One is chosen once for an owner.
        SELECT owner_id, words_slot(owner_id) AS slot FROM (SELECT DISTINCT owner_id FROM counted OFFSET 0) owners
    )
    MERGE INTO knowledge_words k
    USING (SELECT c.owner_id, c.lexeme, s.slot, c.entries::int AS entries
           FROM counted c JOIN slots s USING (owner_id)) n
    ON k.owner_id = n.owner_id AND k.lexeme = n.lexeme AND k.slot = n.slot
    WHEN MATCHED AND k.entries + n.entries = 0 THEN DELETE
    WHEN MATCHED THEN UPDATE SET entries = k.entries + n.entries
    WHEN NOT MATCHED THEN INSERT (owner_id, lexeme, slot, entries) VALUES (n.owner_id, n.lexeme, n.slot, n.entries);
    RETURN NULL;
END
$$;
