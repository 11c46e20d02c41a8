-- A slot of the owner's word counts that nobody else has: so many transactions of one owner write at once without
-- waiting for each other.
CREATE OR REPLACE FUNCTION words_slot(whose uuid) RETURNS smallint
LANGUAGE plpgsql AS $$
BEGIN
    FOR slot IN 0..6 LOOP
        IF pg_try_advisory_xact_lock(hashtextextended('words of ' || whose, slot)) THEN
            RETURN slot;
        END IF;
    END LOOP;
    PERFORM pg_advisory_xact_lock(hashtextextended('words of ' || whose, 7));
    RETURN 7;
END
$$;
