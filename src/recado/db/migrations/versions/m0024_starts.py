"""How often work for a message began and never ended, which workers died, and whether an address is one of our own.

`starts` counts up before a turn, or the fetching of attachments, begins, and is 0 again when it has ended; `begun_at`
is when it first did. `circled_at` is when a conversation last went to people for going in circles. `executor_deaths`
tells a message that kills its workers from a machine on which workers die anyway.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import across_owners, platform_only

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# What can't have the table at once gives up, rather than to have every webhook wait behind it.
PATIENCE = "SET LOCAL lock_timeout = '5s'"

COLUMNS = """
ALTER TABLE messages
    ADD COLUMN starts smallint NOT NULL DEFAULT 0,
    ADD COLUMN begun_at timestamptz;
ALTER TABLE conversations ADD COLUMN circled_at timestamptz;
"""

DEATHS = """
CREATE TABLE executor_deaths (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    executor_id  text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX executor_deaths_at ON executor_deaths (at);
CREATE INDEX numbers_address ON numbers (address);
"""

DEATHS_SINCE = """
CREATE FUNCTION executor_deaths_since(moment timestamptz) RETURNS integer LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
BEGIN
    RETURN (SELECT count(*)::int FROM (SELECT FROM executor_deaths d WHERE d.at >= moment LIMIT 100) lately);
END $$
"""

# `channels/twilio/addresses.identity_key` says which forms a number has; here they are found from the key.
IS_OWN_NUMBER = r"""
CREATE FUNCTION is_own_number(identity_key text) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM numbers n WHERE n.status = 'active' AND n.address IN (
        identity_key,
        regexp_replace(identity_key, '^(whatsapp:\+55[1-9][0-9])9([6-9][0-9]{7})$', '\1\2'),
        regexp_replace(identity_key, '^whatsapp:\+52([0-9]{10})$', 'whatsapp:+521\1'),
        regexp_replace(identity_key, '^whatsapp:\+54([0-9]{10})$', 'whatsapp:+549\1')));
END $$
"""


def upgrade() -> None:
    """Add columns, table and functions; nothing is rewritten."""
    op.execute(PATIENCE)
    op.execute(COLUMNS)
    op.execute(DEATHS)
    platform_only(op, "executor_deaths")
    op.execute(DEATHS_SINCE)
    op.execute(IS_OWN_NUMBER)
    across_owners(op, "executor_deaths_since(timestamptz)", "is_own_number(text)")
