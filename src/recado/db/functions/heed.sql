-- Opts a contact out or in as their message asks; whether that changed anything. What they say goes before what
-- people decided for them.
CREATE OR REPLACE FUNCTION heed(whose uuid, message uuid, conversation uuid, identity text, action text)
RETURNS boolean
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(consent_key(whose, identity));
    IF action = 'stop' THEN
        INSERT INTO suppressions (owner_id, identity_key, reason, message_id, created_at)
        VALUES (whose, identity, 'word', message, clock_timestamp())
        ON CONFLICT (owner_id, identity_key) DO UPDATE
        SET reason = excluded.reason, message_id = excluded.message_id, created_at = excluded.created_at,
            confirmation_id = NULL
        WHERE suppressions.reason = 'people';
    ELSE
        UPDATE contacts SET opted_in_at = clock_timestamp() WHERE owner_id = whose AND identity_key = identity;
        DELETE FROM suppressions WHERE owner_id = whose AND identity_key = identity;
    END IF;
    IF FOUND THEN
        INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
        VALUES (whose, 'accept', CASE action WHEN 'stop' THEN 'opted_out' ELSE 'opted_in' END,
                conversation, message, message);
        RETURN true;
    END IF;
    RETURN false;
END
$$;
