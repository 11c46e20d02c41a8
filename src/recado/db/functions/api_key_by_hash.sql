-- The one look-up of an API key that must come before its owner is known; a revoked key is not found.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION api_key_by_hash(hash bytea)
RETURNS TABLE (owner_id uuid, id uuid, name text, scopes text[], expires_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    SELECT k.owner_id, k.id, k.name, k.scopes, k.expires_at, k.last_used_at
    FROM recado.api_keys k WHERE k.key_hash = hash AND k.revoked_at IS NULL;
END;
REVOKE ALL ON FUNCTION api_key_by_hash(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION api_key_by_hash(bytea) TO recado_app;
