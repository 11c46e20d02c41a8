-- Notes that a session was used, which never goes back in time; only for whoever has its token.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION session_seen(hash bytea, at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    UPDATE recado.sessions SET last_seen_at = greatest(last_seen_at, at) WHERE token_hash = hash;
END;
REVOKE ALL ON FUNCTION session_seen(bytea, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION session_seen(bytea, timestamptz) TO recado_app;
