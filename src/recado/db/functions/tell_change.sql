-- Tells the channel `recado_changed`, as `table:id`, what look-ups must not remember any longer (`db/changes.py`).
-- Rows as nobody but a look-up saw them are no news; `last_used_at` is nothing that a look-up remembers.
CREATE OR REPLACE FUNCTION tell_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'last_used_at' = to_jsonb(OLD) - 'last_used_at' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' AND TG_TABLE_NAME = 'numbers' AND to_jsonb(NEW) ->> 'status' = 'unrouted' THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('recado_changed', TG_TABLE_NAME || ':' || OLD.id);
    ELSE
        PERFORM pg_notify('recado_changed', TG_TABLE_NAME || ':' || NEW.id);
    END IF;
    RETURN NULL;
END
$$;
