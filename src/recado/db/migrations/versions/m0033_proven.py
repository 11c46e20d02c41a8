"""A number is proven once Twilio has said that its account has it; else it says nothing of other owners' contacts.

What Twilio says last counts: a number that another account has now is no longer proven where it was before. Twilio's
sandbox number is everybody's. What an account that was removed had proven is asked for anew.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import across_owners

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE numbers ADD COLUMN proven_at timestamptz, ADD COLUMN asked_at timestamptz;
"""

# As in migration 0029, but that a number of another owner must be proven, not its account alone.
IS_OWN_NUMBER = r"""
CREATE OR REPLACE FUNCTION is_own_number(identity_key text) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
DECLARE
    asking uuid := nullif(current_setting('recado.owner_id', true), '')::uuid;
BEGIN
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
END $$
"""
# `has` is what Twilio lists of the account, NULL where it could not be asked; `shared` is every account's. One at a
# time, so that no two accounts that take numbers from each other wait for one another.
_PROVE = """
CREATE FUNCTION prove_numbers(account uuid, has text[], shared text[], at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE
    asking uuid := nullif(current_setting('recado.owner_id', true), '')::uuid;
    theirs text[];
BEGIN
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
END $$
"""
_FORGET = """
CREATE FUNCTION forget_proof() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
BEGIN
    UPDATE numbers SET proven_at = NULL, asked_at = NULL, version = version + 1
    WHERE owner_id = NEW.owner_id AND account_id = NEW.id AND proven_at IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_proof AFTER UPDATE OF removed_at ON twilio_accounts FOR EACH ROW
    WHEN (NEW.removed_at IS NOT NULL AND OLD.removed_at IS NULL) EXECUTE FUNCTION forget_proof();
"""


def upgrade() -> None:
    """Numbers that are there are unproven until a worker has asked Twilio: within a minute of its start."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(COLUMNS)
    op.execute(_PROVE)
    op.execute(_FORGET)
    across_owners(op, "prove_numbers(uuid, text[], text[], timestamptz)", "forget_proof()")
    op.execute("GRANT CREATE ON SCHEMA recado TO recado_platform")
    op.execute("SET LOCAL ROLE recado_platform")
    op.execute(IS_OWN_NUMBER)
    op.execute("SET LOCAL ROLE NONE")
    op.execute("REVOKE CREATE ON SCHEMA recado FROM recado_platform")
