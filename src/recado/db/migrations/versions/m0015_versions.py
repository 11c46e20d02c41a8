"""Versions of users and owners, and kept answers for callers who have no owner.

The database itself counts what people change of them: an owner may write none of these, and programs
of the version before, which know no version, make none stale unseen.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

VERSIONS = """
ALTER TABLE users ADD COLUMN version int NOT NULL DEFAULT 1;
ALTER TABLE owners ADD COLUMN version int NOT NULL DEFAULT 1;

CREATE FUNCTION grow_version() RETURNS trigger LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;

-- Not for sign-ins and passwords: whoever read a name and a role before has read what there is.
CREATE TRIGGER grow_version BEFORE UPDATE ON users FOR EACH ROW
    WHEN ((OLD.name, OLD.role, OLD.status) IS DISTINCT FROM (NEW.name, NEW.role, NEW.status))
    EXECUTE FUNCTION grow_version();
CREATE TRIGGER grow_version BEFORE UPDATE ON owners FOR EACH ROW
    WHEN ((OLD.name, OLD.status, OLD.plan_id) IS DISTINCT FROM (NEW.name, NEW.status, NEW.plan_id))
    EXECUTE FUNCTION grow_version();
"""

# Keyed by id alone, like users: a platform administrator's answers have no owner, and one key is one request there too.
# Caller and key come first, because an owner that is not there makes no look-up fast.
KEPT_ANSWERS = """
ALTER TABLE idempotency_keys
    DROP CONSTRAINT idempotency_keys_pkey,
    DROP CONSTRAINT idempotency_keys_owner_id_caller_id_key_hash_key,
    ALTER COLUMN owner_id DROP NOT NULL;
ALTER TABLE idempotency_keys
    ADD PRIMARY KEY (id),
    ADD CONSTRAINT idempotency_keys_once UNIQUE NULLS NOT DISTINCT (caller_id, key_hash, owner_id);
"""


def upgrade() -> None:
    """Add versions, each row's first being 1, and let kept answers be without an owner: the platform's alone."""
    op.execute(VERSIONS)
    op.execute(KEPT_ANSWERS)
