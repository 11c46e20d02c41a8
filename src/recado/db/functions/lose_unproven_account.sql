-- Takes a Twilio account from an owner who had only claimed it, for whoever has just proven that it is theirs; it
-- takes nothing that was proven.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION lose_unproven_account(sid text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE
    lost record;
BEGIN
    UPDATE recado.twilio_accounts SET
        removed_at = at, removed_why = 'lost', auth_token = NULL, auth_token_ref = NULL, secondary_token = NULL,
        secondary_token_ref = NULL, api_key_sid = NULL, api_key_secret = NULL, api_key_secret_ref = NULL,
        version = version + 1, updated_at = now()
    WHERE account_sid = sid AND removed_at IS NULL AND proven_at IS NULL
      AND owner_id <> nullif(current_setting('recado.owner_id', true), '')::uuid
    RETURNING owner_id, id INTO lost;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE recado.numbers SET status = 'unrouted', version = version + 1
    WHERE owner_id = lost.owner_id AND account_id = lost.id AND status = 'active';
    -- By whom is none of the business of the owner who had only claimed it.
    INSERT INTO recado.audit (owner_id, caller_kind, caller_name, action, thing, thing_id, data)
    VALUES (lost.owner_id, 'platform', 'recado', 'lose', 'twilio_account', lost.id::text,
            jsonb_build_object('account_sid', sid));
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION lose_unproven_account(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lose_unproven_account(text, timestamptz) TO recado_app;
