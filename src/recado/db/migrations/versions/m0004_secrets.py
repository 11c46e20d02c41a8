"""Secrets by value or by reference, an API key and a public URL for an account, and word of what changed.

A secret column has a twin that ends in `_ref`; a row has one of the two. What look-ups remember is told on the channel
`recado_changed` as `table:id`, for the processes that listen (`db/changes.py`).
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import across_owners

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE twilio_accounts
    ALTER COLUMN auth_token DROP NOT NULL,
    ADD COLUMN auth_token_ref       text,
    ADD COLUMN secondary_token_ref  text,
    ADD COLUMN api_key_sid          text CHECK (api_key_sid ~ '^SK[0-9a-fA-F]{32}$'),
    ADD COLUMN api_key_secret       bytea,
    ADD COLUMN api_key_secret_ref   text,
    ADD COLUMN public_url           text CHECK (public_url ~ '^https?://'),
    ADD CONSTRAINT twilio_accounts_one_auth_token CHECK (num_nonnulls(auth_token, auth_token_ref) = 1),
    ADD CONSTRAINT twilio_accounts_one_secondary_token CHECK (num_nonnulls(secondary_token, secondary_token_ref) <= 1),
    ADD CONSTRAINT twilio_accounts_one_api_key_secret CHECK (
        num_nonnulls(api_key_secret, api_key_secret_ref) = CASE WHEN api_key_sid IS NULL THEN 0 ELSE 1 END);
"""

CHANGES = """
-- Rows as nobody but a look-up saw them are no news; `last_used_at` is nothing that a look-up remembers.
CREATE FUNCTION tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'last_used_at' = to_jsonb(OLD) - 'last_used_at' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' AND TG_TABLE_NAME = 'numbers' AND to_jsonb(NEW) ->> 'status' = 'unrouted' THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('recado_changed', TG_TABLE_NAME || ':' || OLD.id);
    ELSE
        PERFORM pg_notify('recado_changed', TG_TABLE_NAME || ':' || NEW.id);
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(CHANGES)
    for table in ("owners", "twilio_accounts", "numbers", "api_keys"):
        op.execute(
            f"CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION tell_change()"
        )
    op.execute("DROP FUNCTION account_by_sid(text)")
    op.execute(
        """
        CREATE FUNCTION account_by_sid(sid text)
        RETURNS TABLE (owner_id uuid, owner_status text, id uuid, auth_token bytea, auth_token_ref text,
                       secondary_token bytea, secondary_token_ref text, public_url text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
        BEGIN ATOMIC
            SELECT a.owner_id, o.status, a.id, a.auth_token, a.auth_token_ref, a.secondary_token,
                   a.secondary_token_ref, a.public_url
            FROM recado.twilio_accounts a JOIN recado.owners o ON o.id = a.owner_id
            WHERE a.account_sid = sid;
        END
        """
    )
    across_owners(op, "account_by_sid(text)")
