-- Keeps an owner's stored bytes in step with their attachments, at the commit, like messages. A stock, not of a
-- month: its one row has the first of all periods.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION count_stored() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE
    whose uuid := CASE WHEN TG_OP = 'DELETE' THEN OLD.owner_id ELSE NEW.owner_id END;
    more bigint := CASE WHEN TG_OP = 'DELETE' THEN 0 ELSE kept_bytes(NEW) END
                 - CASE WHEN TG_OP = 'INSERT' THEN 0 ELSE kept_bytes(OLD) END;
BEGIN
    IF more > 0 THEN
        INSERT INTO usage AS u (owner_id, period, metric, amount) VALUES (whose, '1970-01-01', 'stored_bytes', more)
        ON CONFLICT (owner_id, period, metric) DO UPDATE SET amount = u.amount + excluded.amount;
    ELSIF more < 0 THEN
        UPDATE usage SET amount = greatest(amount + more, 0)
        WHERE owner_id = whose AND period = '1970-01-01' AND metric = 'stored_bytes';
    END IF;
    RETURN NULL;
END
$$;
-- A trigger calls it, whoever writes; nobody makes another trigger of it.
REVOKE ALL ON FUNCTION count_stored() FROM PUBLIC, recado_app;
