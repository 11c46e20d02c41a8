-- Proves the numbers of an account by what Twilio lists of it: `has`, NULL where it could not be asked; `shared`
-- is every account's. What Twilio says last counts, so that another account's number of that address is proven no
-- more.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION prove_numbers(account uuid, has text[], shared text[], at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE
    asking uuid := nullif(current_setting('recado.owner_id', true), '')::uuid;
    theirs text[];
BEGIN
    -- One at a time, so that no two accounts that take numbers from each other wait for one another.
    PERFORM pg_advisory_xact_lock(hashtextextended('recado.prove_numbers', 0));
    IF NOT EXISTS (SELECT FROM twilio_accounts a WHERE a.owner_id = asking AND a.id = account
                   AND a.proven_at IS NOT NULL AND a.removed_at IS NULL) THEN
        RETURN;
    END IF;
    UPDATE numbers n
    SET proven_at = CASE WHEN n.proven_at IS NULL THEN at END, version = n.version + 1
    WHERE n.owner_id = asking AND n.account_id = account
      AND (has IS NOT NULL OR n.address = ANY (shared))
      AND (n.address = ANY (shared) OR n.address = ANY (coalesce(has, '{}'))) <> (n.proven_at IS NOT NULL);
    IF has IS NOT NULL THEN
        UPDATE numbers n SET asked_at = at WHERE n.owner_id = asking AND n.account_id = account;
        SELECT array_agg(n.address) INTO theirs FROM numbers n
        WHERE n.owner_id = asking AND n.account_id = account AND n.address = ANY (has) AND n.address <> ALL (shared);
        UPDATE numbers n SET proven_at = NULL, version = n.version + 1
        WHERE n.address = ANY (theirs) AND n.account_id <> account AND n.proven_at IS NOT NULL;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION prove_numbers(uuid, text[], text[], timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prove_numbers(uuid, text[], text[], timestamptz) TO recado_app;
