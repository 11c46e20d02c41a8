-- The event id up to which nothing is to come any more, by the locks of `next_event_id`. The newest number is read
-- first: whoever has taken an older one by then, and not ended, holds the lock when it is looked for.
CREATE OR REPLACE FUNCTION events_settled() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    newest bigint := coalesce(pg_sequence_last_value('recado.events_id_seq'), 0);
BEGIN
    -- A key has 32 bits of the number; a number that was taken only now seems to be billions behind.
    RETURN newest - coalesce(max(behind), 0) FROM (
        SELECT (newest - l.objid::bigint) & 4294967295 AS behind FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.classid = 1702258030 AND l.objsubid = 2
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ) held WHERE behind < 2147483648;
END
$$;
