-- Opts out the contact whose part Twilio refused for that, unless they opted in after the attempt began; whether
-- that changed anything.
CREATE OR REPLACE FUNCTION refused(whose uuid, message uuid, nth smallint, code integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
DECLARE
    identity text := consent_lock(whose, message);
BEGIN
    INSERT INTO suppressions (owner_id, identity_key, reason, created_at)
    SELECT whose, identity, 'twilio ' || code, clock_timestamp()
    WHERE identity IS NOT NULL AND NOT EXISTS (
        SELECT FROM contacts c WHERE c.owner_id = whose AND c.identity_key = identity AND c.opted_in_at >= coalesce(
            (SELECT max(a.started_at) FROM delivery_attempts a
             WHERE a.owner_id = whose AND a.message_id = message AND a.part = nth),
            (SELECT p.taken_at FROM message_parts p
             WHERE p.owner_id = whose AND p.message_id = message AND p.part = nth)))
    ON CONFLICT (owner_id, identity_key) DO UPDATE
    SET reason = excluded.reason, message_id = NULL, created_at = excluded.created_at, confirmation_id = NULL
    WHERE suppressions.reason = 'people';
    IF FOUND THEN
        INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id, data)
        SELECT m.owner_id, 'confirm', 'opted_out', m.conversation_id, m.id, m.correlation_id,
               jsonb_build_object('error_code', code)
        FROM messages m WHERE m.owner_id = whose AND m.id = message;
        RETURN true;
    END IF;
    RETURN false;
END
$$;
