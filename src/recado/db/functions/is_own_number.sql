-- Whether an address is one of our own, so that no two assistants talk to each other. Each number of the asking
-- owner counts, of other owners proven ones only: nobody silences another's by naming a stranger's number.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION is_own_number(identity_key text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE
    asking uuid := nullif(current_setting('recado.owner_id', true), '')::uuid;
BEGIN
    -- `channels/twilio/addresses.identity_key` says which forms a number has; here they are found from the key.
    RETURN EXISTS (
        SELECT FROM numbers n JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
        WHERE a.removed_at IS NULL
          AND (n.owner_id = asking
               OR (n.status = 'active' AND n.proven_at IS NOT NULL AND a.proven_at IS NOT NULL))
          AND n.address IN (
            identity_key,
            regexp_replace(identity_key, '^(whatsapp:\+55[1-9][0-9])9([6-9][0-9]{7})$', '\1\2'),
            regexp_replace(identity_key, '^whatsapp:\+52([0-9]{10})$', 'whatsapp:+521\1'),
            regexp_replace(identity_key, '^whatsapp:\+54([0-9]{10})$', 'whatsapp:+549\1')));
END
$$;
REVOKE ALL ON FUNCTION is_own_number(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_own_number(text) TO recado_app;
