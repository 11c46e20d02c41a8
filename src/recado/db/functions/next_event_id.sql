-- The id of the next event. A transaction holds a shared lock, from before its first event until it ends, under a
-- number of the same sequence: what is below every such number is committed or will never be. The setting ends
-- with the transaction and is undone with a savepoint, and so is the lock.
CREATE OR REPLACE FUNCTION next_event_id() RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('recado.event_ticket', true) IS DISTINCT FROM 'held' THEN
        -- The first half of these locks' keys, of which nothing else has two halves: "even", of event.
        PERFORM pg_advisory_xact_lock_shared(1702258030, nextval('recado.events_id_seq')::bit(32)::int);
        PERFORM set_config('recado.event_ticket', 'held', true);
    END IF;
    RETURN nextval('recado.events_id_seq');
END
$$;
