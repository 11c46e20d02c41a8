-- Counts what people change of a row: an owner may write no version, and no program makes one stale unseen.
CREATE OR REPLACE FUNCTION grow_version() RETURNS trigger
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;
