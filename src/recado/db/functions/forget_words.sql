-- Takes the words of entries that are gone, or said otherwise now, out of `knowledge_places` and
-- `knowledge_words`. Of an entry that was only moved they are left alone.
CREATE OR REPLACE FUNCTION forget_words() RETURNS trigger
-- Nested loops alone: nothing is known of how long the lists are, and a hash over everybody's words would be the price
-- of a wrong guess.
LANGUAGE plpgsql SET search_path = recado, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH lost AS MATERIALIZED (
        SELECT g.owner_id, g.id, w.lexeme, NOT 'A' = ANY(w.weights) AS in_content
        FROM (
            SELECT * FROM gone WHERE TG_OP = 'DELETE' OR search IS DISTINCT FROM
                (SELECT k.search FROM knowledge k WHERE k.owner_id = gone.owner_id AND k.id = gone.id) OFFSET 0
        ) g, unnest(g.search) w
    ), displaced AS (
        DELETE FROM knowledge_places p USING lost
        WHERE p.owner_id = lost.owner_id AND p.lexeme = lost.lexeme AND p.in_content = lost.in_content
          AND p.entry_id = lost.id
    ), counted AS MATERIALIZED (
        SELECT owner_id, lexeme, -count(*) AS entries FROM lost GROUP BY owner_id, lexeme
        UNION ALL SELECT owner_id, '', -count(*) FROM gone WHERE TG_OP = 'DELETE' GROUP BY owner_id
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
