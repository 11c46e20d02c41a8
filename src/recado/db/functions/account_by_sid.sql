-- Whose AccountSid is it? The one look-up of a Twilio account that must come before its owner is known. A removed
-- account is nobody's.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION account_by_sid(sid text)
RETURNS TABLE (owner_id uuid, owner_status text, id uuid, auth_token bytea, auth_token_ref text,
               secondary_token bytea, secondary_token_ref text, public_url text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    SELECT a.owner_id, o.status, a.id, a.auth_token, a.auth_token_ref, a.secondary_token, a.secondary_token_ref,
           a.public_url
    FROM recado.twilio_accounts a JOIN recado.owners o ON o.id = a.owner_id
    WHERE a.account_sid = sid AND a.removed_at IS NULL;
END;
REVOKE ALL ON FUNCTION account_by_sid(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION account_by_sid(text) TO recado_app;
