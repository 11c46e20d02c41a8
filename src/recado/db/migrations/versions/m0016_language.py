"""A contact's language: who says it, and a version for people who change it; and an index that can't be mistaken."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

LANGUAGE = """
ALTER TABLE contacts
    -- `people` said it, or it is `written`: told by what the contact writes, which never changes what people said.
    ADD COLUMN language_why text CHECK (language_why IN ('people', 'written')),
    ADD COLUMN version int NOT NULL DEFAULT 1;
UPDATE contacts SET language_why = 'people' WHERE language IS NOT NULL;
ALTER TABLE contacts ADD CONSTRAINT contacts_language_why CHECK ((language IS NULL) = (language_why IS NULL));
"""

# Before a table was first analysed PostgreSQL guesses its rows from their width, and takes any index that begins with
# the owner for as good as the right one. A foreign key's check then read all of an owner's contacts by this one.
UNIQUE = """
ALTER TABLE contacts
    DROP CONSTRAINT contacts_owner_id_identity_key_key,
    ADD CONSTRAINT contacts_identity_key UNIQUE (identity_key, owner_id);
"""


def upgrade() -> None:
    """Add the columns; a language that is there already was set by people, as nothing else set any."""
    op.execute(LANGUAGE)
    op.execute(UNIQUE)
