"""Whether an address is one of our own, so that no owner silences another's assistants by naming a stranger's number.

Within an owner each of its numbers counts: nobody else is told anything by it. Of other owners only active ones of a
proven account do (`channels/twilio/proof`). None of an account that was removed: the number may be a person's by now.
"""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0026"
branch_labels = None
depends_on = None

# `channels/twilio/addresses.identity_key` says which forms a number has; here they are found from the key.
IS_OWN_NUMBER = r"""
CREATE OR REPLACE FUNCTION is_own_number(identity_key text) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
DECLARE
    asking uuid := nullif(current_setting('recado.owner_id', true), '')::uuid;
BEGIN
    RETURN EXISTS (
        SELECT FROM numbers n JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
        WHERE a.removed_at IS NULL
          AND (n.owner_id = asking OR (n.status = 'active' AND a.proven_at IS NOT NULL))
          AND n.address IN (
            identity_key,
            regexp_replace(identity_key, '^(whatsapp:\+55[1-9][0-9])9([6-9][0-9]{7})$', '\1\2'),
            regexp_replace(identity_key, '^whatsapp:\+52([0-9]{10})$', 'whatsapp:+521\1'),
            regexp_replace(identity_key, '^whatsapp:\+54([0-9]{10})$', 'whatsapp:+549\1')));
END $$
"""


def upgrade() -> None:
    """Replace the function; its owner and who may call it stay."""
    # Nobody but the role that owns it may replace it, and that needs the schema for as long.
    op.execute("GRANT CREATE ON SCHEMA recado TO recado_platform")
    op.execute("SET LOCAL ROLE recado_platform")
    op.execute(IS_OWN_NUMBER)
    op.execute("SET LOCAL ROLE NONE")
    op.execute("REVOKE CREATE ON SCHEMA recado FROM recado_platform")
    # A death that was written down is not another later.
    op.execute("REVOKE UPDATE ON executor_deaths FROM recado_platform")
