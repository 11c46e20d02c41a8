"""Owners' names are the platform's; no event is missed; invitations say who made them; browsers are known.

By its name `owners add` finds an owner again, so no owner may take another's.

An event's id is given before it is committed, so that a smaller one may come to be seen after a greater. Neither a time
nor the order of transactions tells when that is over: a transaction may be open for long, and one that began to write
later may have taken its ids earlier. So a transaction, before its first event, takes a number of the same sequence and
holds a shared lock under it until it ends. What is below every such number, and was given before they were looked at,
is committed or will never be.

An invitation that is there and open makes no user's password anew: nobody looked whether its maker might.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

#: The first half of these locks' keys, of which nothing else has two halves: "even", of event.
LOCKS = 0x6576_656E

# The setting ends with the transaction and is undone with a savepoint, and so is the lock.
NEXT_ID = f"""
CREATE FUNCTION next_event_id() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('recado.event_ticket', true) IS DISTINCT FROM 'held' THEN
        PERFORM pg_advisory_xact_lock_shared({LOCKS}, nextval('recado.events_id_seq')::bit(32)::int);
        PERFORM set_config('recado.event_ticket', 'held', true);
    END IF;
    RETURN nextval('recado.events_id_seq');
END
$$
"""

# The newest number first: whoever has taken an older one by then, and not ended, holds the lock when it is looked for.
SETTLED = f"""
CREATE FUNCTION events_settled() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    newest bigint := coalesce(pg_sequence_last_value('recado.events_id_seq'), 0);
BEGIN
    -- A key has 32 bits of the number; a number that was taken only now seems to be billions behind.
    RETURN newest - coalesce(max(behind), 0) FROM (
        SELECT (newest - l.objid::bigint) & 4294967295 AS behind FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.classid = {LOCKS} AND l.objsubid = 2
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ) held WHERE behind < 2147483648;
END
$$
"""  # noqa: S608 - a constant


INVITATIONS = """
ALTER TABLE invitations
    ADD COLUMN resets_password  boolean NOT NULL DEFAULT false,
    ADD COLUMN invited_by_kind  text CHECK (invited_by_kind IN ('key', 'user', 'platform', 'cli')),
    ADD COLUMN invited_by_id    uuid
"""


# A user's browsers are ended together and are few; the token is looked for across owners.
BROWSERS = """
CREATE TABLE known_browsers (
    owner_id      uuid REFERENCES owners,
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users,
    token_hash    bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    last_used_at  timestamptz NOT NULL,
    FOREIGN KEY (owner_id, user_id) REFERENCES users (owner_id, id)
);
CREATE INDEX known_browsers_user ON known_browsers (user_id);
"""


def upgrade() -> None:
    """Take back what 0011 gave; events take their ids by the function from now on."""
    op.execute("REVOKE UPDATE (name) ON owners FROM recado_app")
    op.execute(NEXT_ID)
    op.execute(SETTLED)
    op.execute("ALTER TABLE events ALTER COLUMN id SET DEFAULT next_event_id()")
    op.execute(INVITATIONS)
    op.execute(BROWSERS)
    own(op, "known_browsers")
