-- Takes the consent lock of a message's contact, before the rows of the message, as a delivery does; answers the
-- contact's identity key.
CREATE OR REPLACE FUNCTION consent_lock(whose uuid, message uuid) RETURNS text
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
DECLARE
    identity text;
BEGIN
    -- What the contact is known by stays until the commit.
    SELECT c.identity_key INTO identity FROM messages m
    JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
    JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
    WHERE m.owner_id = whose AND m.id = message FOR KEY SHARE OF c;
    PERFORM pg_advisory_xact_lock(consent_key(whose, identity));
    RETURN identity;
END
$$;
