-- Whose session is it? It comes before the owner is known, and platform administrators have none; it knows one
-- session, and only for whoever has its token.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION session_by_hash(hash bytea)
RETURNS TABLE (owner_id uuid, id uuid, user_id uuid, created_at timestamptz, last_seen_at timestamptz,
               revoked_at timestamptz, role text, email text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    SELECT s.owner_id, s.id, s.user_id, s.created_at, s.last_seen_at, s.revoked_at, u.role, u.email
    FROM recado.sessions s JOIN recado.users u ON u.id = s.user_id AND u.status = 'active'
    WHERE s.token_hash = hash;
END;
REVOKE ALL ON FUNCTION session_by_hash(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION session_by_hash(bytea) TO recado_app;
