"""The baseline: all tables as `baseline/` has them, a file a noun; then who may see and change which rows.

Every table of an owner's rows has a primary key that begins with `owner_id`, or a second key that carries it, so that a
foreign key carries the owner and no row can point across owners. Row-level security stands on the same column, forced
for the tables' owner too. Migrations 1 to 34, which made the same step by step, are in the history of the sources.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from recado.db.functions import put
from recado.db.migrations.policies import own, own_append_only, platform_only

revision = "0034"
down_revision = None
branch_labels = None
depends_on = None

_FOLDER = Path(__file__).parents[1] / "baseline"
_NOUNS = ("owners", "people", "assistants", "channels", "conversations", "messages", "workers")

#: What a default and the triggers call has to be there before them; all else is made when the migrations are done.
_FOR_DEFAULTS = ("next_event_id",)
_FOR_TRIGGERS = (
    *("tell_change", "grow_version", "meter_part", "count_stored", "forget_proof", "forget_words", "learn_words"),
)

_OWNED = (
    *("users", "sessions", "known_browsers", "invitations", "api_keys", "idempotency_keys"),
    *("assistants", "knowledge", "knowledge_words", "knowledge_places"),
    *("twilio_accounts", "numbers", "contents", "templates"),
    *("contacts", "suppressions", "consent_words", "conversations", "turns"),
    *("messages", "media", "message_parts", "delivery_attempts", "usage"),
)
# What differs from what all of their kind have.
_RIGHTS = """
GRANT USAGE ON SCHEMA recado TO recado_app, recado_platform;
GRANT SELECT ON schema_version TO recado_app, recado_platform;

-- An owner sees itself and changes nothing of it: by its name `owners add` finds it again.
ALTER TABLE owners ENABLE ROW LEVEL SECURITY;
ALTER TABLE owners FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON owners TO recado_app
    USING (id = (SELECT nullif(current_setting('recado.owner_id', true), '')::uuid));
CREATE POLICY platform ON owners TO recado_platform USING (true);
GRANT SELECT ON owners TO recado_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON owners TO recado_platform;

-- What was used is not taken back.
REVOKE DELETE ON usage FROM recado_app;
GRANT SELECT ON plans TO recado_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON executors TO recado_app, recado_platform;
-- A death that was written down is not another later, and the salts' grain is never another.
REVOKE UPDATE ON executor_deaths FROM recado_platform;
REVOKE UPDATE, DELETE ON password_salts FROM recado_platform;
GRANT USAGE ON SEQUENCE audit_id_seq, events_id_seq TO recado_app, recado_platform;
"""


def upgrade() -> None:
    """Make an empty database's tables, rights, indexes and triggers, in this order."""
    put(op.get_bind(), _FOR_DEFAULTS)
    for noun in _NOUNS:
        _run((_FOLDER / f"{noun}.sql").read_text(encoding="utf-8"))
    own(op, *_OWNED)
    own_append_only(op, "events", "audit")
    platform_only(op, "plans", "sign_in_failures", "password_salts", "executor_deaths")
    _run(_RIGHTS)
    _run((_FOLDER / "indexes.sql").read_text(encoding="utf-8"))
    put(op.get_bind(), _FOR_TRIGGERS)
    _run((_FOLDER / "triggers.sql").read_text(encoding="utf-8"))


def _run(script: str) -> None:
    psycopg = op.get_bind().connection.driver_connection
    assert psycopg is not None  # noqa: S101 - the connection is open
    psycopg.execute(script)
