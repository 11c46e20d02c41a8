-- Takes the words of entries that are gone, or said otherwise now, out of `knowledge_places` and
-- `knowledge_words`. Of an entry that was only moved they are left alone.
CREATE OR REPLACE FUNCTION forget_words() RETURNS trigger
-- Nested loops alone: nothing is known of how long the lists are, and a hash over everybody's words would be the price
-- of a wrong guess.
LANGUAGE plpgsql SET search_path = recado, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    whose uuid;
    taken smallint;
BEGIN
    FOR whose IN SELECT DISTINCT owner_id FROM gone ORDER BY owner_id LOOP
        CONTINUE WHEN NOT EXISTS (
            SELECT * FROM gone WHERE owner_id = whose AND (TG_OP = 'DELETE' OR search IS DISTINCT FROM
                (SELECT k.search FROM knowledge k WHERE k.owner_id = gone.owner_id AND k.id = gone.id)) OFFSET 0
        );
        -- A statement of its own: the next one sees what was committed until now.
        taken := words_slot(whose);
        WITH lost AS MATERIALIZED (
            SELECT g.owner_id, g.id, w.lexeme, NOT 'A' = ANY(w.weights) AS in_content
            FROM (
                SELECT * FROM gone WHERE owner_id = whose AND (TG_OP = 'DELETE' OR search IS DISTINCT FROM
                    (SELECT k.search FROM knowledge k WHERE k.owner_id = gone.owner_id AND k.id = gone.id)) OFFSET 0
            ) g, unnest(g.search) w
        ), displaced AS (
            DELETE FROM knowledge_places p USING lost
            WHERE p.owner_id = lost.owner_id AND p.lexeme = lost.lexeme AND p.in_content = lost.in_content
              AND p.entry_id = lost.id
        ), counted AS MATERIALIZED (
            SELECT lexeme, -count(*) AS entries FROM lost GROUP BY lexeme
            UNION ALL SELECT '', -count(*) FROM gone WHERE TG_OP = 'DELETE' AND owner_id = whose HAVING count(*) > 0
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
