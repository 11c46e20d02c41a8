"""Who made a key; an address is a user of each owner on its own; a Twilio account is proven, or given up; stored bytes.

An address that one owner invites says nothing to another and takes nothing from it. Users of one address are hashed
with one salt, so that trying a password against all of them is as much work as against one, or none.

A Twilio account that was proven belongs to its owner. One that was only claimed is lost to whoever proves it. A removed
one stays, without its secrets, because numbers, conversations and messages point at it.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import across_owners

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

MAKERS = """
ALTER TABLE api_keys
    ADD COLUMN made_by_kind  text CHECK (made_by_kind IN ('key', 'user', 'platform', 'cli')),
    ADD COLUMN made_by_id    uuid;
CREATE INDEX api_keys_made_by ON api_keys (made_by_id) WHERE made_by_id IS NOT NULL;
ALTER TABLE invitations ADD COLUMN user_id uuid;
"""

ADDRESSES = """
ALTER TABLE users DROP CONSTRAINT users_email_key;
CREATE UNIQUE INDEX users_email_of_owner ON users (owner_id, email) NULLS NOT DISTINCT;
CREATE INDEX users_email ON users (email);

-- One row, made here and never shown: what makes the salts of this installation others than those of the next.
CREATE TABLE password_salts (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    grain  bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
);
REVOKE ALL ON password_salts FROM recado_app;
GRANT SELECT, INSERT ON password_salts TO recado_platform;
"""
# Made again where it is missing, as in a database that was emptied: a hash with another salt works and is moved.
_SALT = """
CREATE FUNCTION password_salt(address text) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM password_salts) THEN
        INSERT INTO password_salts DEFAULT VALUES ON CONFLICT DO NOTHING;
    END IF;
    RETURN (SELECT substr(sha256(grain || convert_to(address, 'UTF8')), 1, 16) FROM password_salts);
END $$
"""
# What an owner's connection must ask of somebody who has no owner; nobody dismisses them before the commit.
_ADMINISTRATOR = """
CREATE FUNCTION administrator_stands(who uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    PERFORM FROM recado.users WHERE id = who AND owner_id IS NULL AND status = 'active' FOR SHARE;
    RETURN FOUND;
END $$
"""

ACCOUNTS = """
ALTER TABLE twilio_accounts
    ADD COLUMN proven_at    timestamptz,
    ADD COLUMN removed_at   timestamptz,
    ADD COLUMN removed_why  text CHECK (removed_why IN ('removed', 'lost')),
    ADD CONSTRAINT twilio_accounts_removed CHECK ((removed_at IS NULL) = (removed_why IS NULL)),
    DROP CONSTRAINT twilio_accounts_one_auth_token,
    ADD CONSTRAINT twilio_accounts_one_auth_token CHECK (
        num_nonnulls(auth_token, auth_token_ref) = CASE WHEN removed_at IS NULL THEN 1 ELSE 0 END),
    DROP CONSTRAINT twilio_accounts_account_sid_key;
CREATE UNIQUE INDEX twilio_accounts_sid ON twilio_accounts (account_sid) WHERE removed_at IS NULL;
CREATE INDEX twilio_accounts_sids ON twilio_accounts (account_sid);
"""
# For whoever has just proven that the account is theirs; it takes nothing that was proven.
_LOSE = """
CREATE FUNCTION lose_unproven_account(sid text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE
    lost record;
BEGIN
    UPDATE recado.twilio_accounts SET
        removed_at = at, removed_why = 'lost', auth_token = NULL, auth_token_ref = NULL, secondary_token = NULL,
        secondary_token_ref = NULL, api_key_sid = NULL, api_key_secret = NULL, api_key_secret_ref = NULL,
        version = version + 1, updated_at = now()
    WHERE account_sid = sid AND removed_at IS NULL AND proven_at IS NULL
      AND owner_id <> nullif(current_setting('recado.owner_id', true), '')::uuid
    RETURNING owner_id, id INTO lost;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE recado.numbers SET status = 'unrouted', version = version + 1
    WHERE owner_id = lost.owner_id AND account_id = lost.id AND status = 'active';
    -- By whom is none of the business of the owner who had only claimed it.
    INSERT INTO recado.audit (owner_id, caller_kind, caller_name, action, thing, thing_id, data)
    VALUES (lost.owner_id, 'platform', 'recado', 'lose', 'twilio_account', lost.id::text,
            jsonb_build_object('account_sid', sid));
    RETURN true;
END $$
"""
_ACCOUNT_BY_SID = """
CREATE OR REPLACE FUNCTION account_by_sid(sid text)
RETURNS TABLE (owner_id uuid, owner_status text, id uuid, auth_token bytea, auth_token_ref text,
               secondary_token bytea, secondary_token_ref text, public_url text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = recado, pg_temp
BEGIN ATOMIC
    SELECT a.owner_id, o.status, a.id, a.auth_token, a.auth_token_ref, a.secondary_token,
           a.secondary_token_ref, a.public_url
    FROM recado.twilio_accounts a JOIN recado.owners o ON o.id = a.owner_id
    WHERE a.account_sid = sid AND a.removed_at IS NULL;
END
"""

# A stock, not of a month: its one row has the first of all periods. Counted at the commit, like messages.
STORED = """
ALTER TABLE plans ADD COLUMN stored_bytes bigint CHECK (stored_bytes >= 0);
ALTER TABLE usage DROP CONSTRAINT usage_metric_check;
ALTER TABLE usage ADD CONSTRAINT usage_metric_check CHECK (metric IN
    ('messages', 'model_tokens', 'transcription_seconds', 'money', 'unpriced_tokens', 'stored_bytes'));

CREATE FUNCTION kept_bytes(m media) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN m.storage_key IS NULL THEN 0 ELSE coalesce(m.size_bytes, 0) END
$$;
CREATE FUNCTION count_stored() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
DECLARE
    whose uuid := CASE WHEN TG_OP = 'DELETE' THEN OLD.owner_id ELSE NEW.owner_id END;
    more bigint := CASE WHEN TG_OP = 'DELETE' THEN 0 ELSE kept_bytes(NEW) END
                 - CASE WHEN TG_OP = 'INSERT' THEN 0 ELSE kept_bytes(OLD) END;
BEGIN
    IF more > 0 THEN
        INSERT INTO usage AS u (owner_id, period, metric, amount) VALUES (whose, '1970-01-01', 'stored_bytes', more)
        ON CONFLICT (owner_id, period, metric) DO UPDATE SET amount = u.amount + excluded.amount;
    ELSIF more < 0 THEN
        UPDATE usage SET amount = greatest(amount + more, 0)
        WHERE owner_id = whose AND period = '1970-01-01' AND metric = 'stored_bytes';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER count_stored AFTER INSERT OR UPDATE OR DELETE ON media
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_stored();
"""

# Row-level security is forced: across owners only this role sees rows. Who made a key stands in the audit.
KNOWN = """
SET LOCAL ROLE recado_platform;
UPDATE api_keys k SET made_by_kind = a.caller_kind, made_by_id = a.caller_id
FROM audit a WHERE a.thing = 'api_key' AND a.action = 'add' AND a.thing_id = k.id::text AND a.owner_id = k.owner_id;
UPDATE invitations i SET user_id = u.id FROM users u
WHERE i.resets_password AND u.email = i.email AND u.owner_id IS NOT DISTINCT FROM i.owner_id;
INSERT INTO usage (owner_id, period, metric, amount)
SELECT owner_id, '1970-01-01', 'stored_bytes', sum(size_bytes) FROM media
WHERE storage_key IS NOT NULL AND size_bytes > 0 GROUP BY owner_id;
SET LOCAL ROLE NONE;
"""


def upgrade() -> None:
    """Accounts that are there are unproven until they are tried: nothing that they do depends on it."""
    op.execute(MAKERS)
    op.execute(ADDRESSES)
    op.execute(_SALT)
    op.execute(_ADMINISTRATOR)
    op.execute(ACCOUNTS)
    op.execute(_LOSE)
    op.execute(_ACCOUNT_BY_SID)
    op.execute(STORED)
    across_owners(
        op,
        "password_salt(text)",
        "administrator_stands(uuid)",
        "lose_unproven_account(text, timestamptz)",
        "count_stored()",
    )
    op.execute(KNOWN)
