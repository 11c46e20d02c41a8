-- What an account that was removed had proven is asked for anew.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION forget_proof() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    UPDATE numbers SET proven_at = NULL, asked_at = NULL, version = version + 1
    WHERE owner_id = NEW.owner_id AND account_id = NEW.id AND proven_at IS NOT NULL;
    RETURN NULL;
END
$$;
-- A trigger calls it, whoever writes; nobody makes another trigger of it.
REVOKE ALL ON FUNCTION forget_proof() FROM PUBLIC, recado_app;
