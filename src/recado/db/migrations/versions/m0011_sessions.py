"""People over HTTP: users have names, and the application may ask whose session a token is, as it may of a key.

The look-up comes before the owner is known and platform administrators have none, so it goes across owners; it knows
one session, and only for whoever has its token. An owner's own name is the one thing of it that the owner may change.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import across_owners

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NAME = "ALTER TABLE users ADD COLUMN name text NOT NULL DEFAULT '' CHECK (length(name) <= 200)"

SESSION_BY_HASH = """
CREATE FUNCTION session_by_hash(hash bytea)
RETURNS TABLE (owner_id uuid, id uuid, user_id uuid, created_at timestamptz, last_seen_at timestamptz,
               revoked_at timestamptz, role text, email text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    SELECT s.owner_id, s.id, s.user_id, s.created_at, s.last_seen_at, s.revoked_at, u.role, u.email
    FROM recado.sessions s JOIN recado.users u ON u.id = s.user_id AND u.status = 'active'
    WHERE s.token_hash = hash;
END
"""

SESSION_SEEN = """
CREATE FUNCTION session_seen(hash bytea, at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    UPDATE recado.sessions SET last_seen_at = greatest(last_seen_at, at) WHERE token_hash = hash;
END
"""


def upgrade() -> None:
    op.execute(NAME)
    op.execute(SESSION_BY_HASH)
    op.execute(SESSION_SEEN)
    across_owners(op, "session_by_hash(bytea)", "session_seen(bytea, timestamptz)")
    op.execute("GRANT UPDATE (name) ON owners TO recado_app")
