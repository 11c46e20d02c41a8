"""Releases run beside one another: which code works with the schema, and of which version a worker is.

The revision moves to `schema_revision`. What stays in `schema_version` is what recado 0.1.0 asks for, which takes any
other answer for a schema that it can't use: so its processes go on, and it can be started again, until a migration that
it does not work with (`recado.db.migrate`) ends that.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from recado.db.migrations.policies import platform_only

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

#: The oldest revision whose code works with the schema from here on.
compatible_from = "0036"

#: The functions as 0.1.0 has them.
_FUNCTIONS = {
    "account_by_sid": "555fb2ac6e4940c4",
    "administrator_stands": "93167c2a309be211",
    "api_key_by_hash": "43569b93e9bbf455",
    "assistant_of": "ed41ba9b3dd5d133",
    "consent_key": "059f5e13980740b9",
    "consent_lock": "f7a16d20119b4d45",
    "count_stored": "bc3827398af1a77d",
    "enqueue": "181e5702ae35a7bf",
    "enqueue_across": "f412ad21739a169a",
    "enqueue_delivery": "838d3ecb670fc9cb",
    "enqueue_media": "2d47d4927987de19",
    "enqueue_turn": "8a8545c853a1adf2",
    "enqueue_work": "d13118bc475d9988",
    "events_settled": "3e62e5d7991acc36",
    "executor_deaths_since": "ef9ceb7c305bc66c",
    "forget_proof": "681a9b94241b364a",
    "forget_words": "ebaa2029ae5c946c",
    "grow_version": "ec95f0df25b61072",
    "has_voice": "05280488e627d6ec",
    "has_work": "7883ebf19ed3f7f1",
    "heed": "b14689d3a5128a7f",
    "is_own_number": "96752d5ebb5ad26c",
    "kept_bytes": "d6671078031eb902",
    "lane": "6d467e1907ba8705",
    "learn_words": "d51e3dbd759e9781",
    "lose_unproven_account": "d4c8f0aa86cf7309",
    "meter": "7c448222b14b2c54",
    "meter_part": "f4260d9ccc98066f",
    "meter_unpriced": "8e3dfa6df9303b48",
    "next_event_id": "058c44843384cb7e",
    "password_salt": "ce78cbc4cc6146d2",
    "prove_numbers": "45f0f6cf74eb1035",
    "refused": "d6d417fecaf7b7c6",
    "session_by_hash": "d4fbb5821a5ba557",
    "session_seen": "86c82428536766f3",
    "tell_change": "000c7ca32791b065",
    "unite": "b24e52014ccb0be9",
    "uuid_floor": "ad0239a67ae7f6c8",
    "words_slot": "755befd601d42e0d",
}

_STATEMENTS = """
ALTER TABLE schema_revision
    ADD COLUMN compatible_from text NOT NULL DEFAULT '0036',
    ADD COLUMN functions jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN recado text;
REVOKE ALL ON schema_revision FROM recado_app, recado_platform;
GRANT SELECT ON schema_revision TO recado_app, recado_platform;

-- Workers of 0.1.0, which don't say theirs, have the first version of the workflows.
ALTER TABLE executors
    ADD COLUMN version text NOT NULL DEFAULT '1',
    ADD COLUMN recado text,
    ADD COLUMN draining boolean NOT NULL DEFAULT false;

-- Versions of the workflows that workers had. One that drains takes no new work.
CREATE TABLE workflow_versions (
    version    text PRIMARY KEY,
    draining   boolean NOT NULL DEFAULT false,
    first_at   timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
"""

_AS_BEFORE = """
UPDATE schema_version SET version_num = '0036', functions = CAST(:functions AS jsonb), recado = '0.1.0'
"""
_AS_NEW = """
INSERT INTO schema_version (version_num, functions, recado)
SELECT '0036', CAST(:functions AS jsonb), '0.1.0' WHERE NOT EXISTS (SELECT FROM schema_version)
"""


def upgrade() -> None:
    """Add the columns and the table; say in `schema_version` what 0.1.0 expects."""
    for statement in _STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
    platform_only(op, "workflow_versions")
    told = {"functions": json.dumps(_FUNCTIONS)}
    op.get_bind().execute(sa.text(_AS_BEFORE), told)
    op.get_bind().execute(sa.text(_AS_NEW), told)
