-- A part that Twilio has is a message, whoever told us: its answer, a callback or its list. Counted at the commit,
-- when all other locks are held, so that two transactions never wait for each other's.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION meter_part() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    PERFORM meter(NEW.owner_id, 'messages', 1, NEW.taken_at);
    RETURN NULL;
END
$$;
-- A trigger calls it, whoever writes; nobody makes another trigger of it.
REVOKE ALL ON FUNCTION meter_part() FROM PUBLIC, recado_app;
