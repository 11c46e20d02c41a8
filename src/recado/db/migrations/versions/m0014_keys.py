"""What a message and a turn point at is of their own owner: keys that carry the owner, where there were none."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KEYS = """
ALTER TABLE messages
    ADD CONSTRAINT messages_account FOREIGN KEY (owner_id, account_id) REFERENCES twilio_accounts,
    ADD CONSTRAINT messages_turn FOREIGN KEY (owner_id, turn_id) REFERENCES turns,
    ADD CONSTRAINT messages_reply_to FOREIGN KEY (owner_id, reply_to) REFERENCES messages;
ALTER TABLE turns
    ADD CONSTRAINT turns_assistant FOREIGN KEY (owner_id, assistant_id) REFERENCES assistants;
-- Without these, each message or turn that is removed would be looked for in every message of all owners.
CREATE INDEX messages_turn ON messages (owner_id, turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX messages_reply_to ON messages (owner_id, reply_to) WHERE reply_to IS NOT NULL;
"""


def upgrade() -> None:
    """Add the keys; rows that point across owners, which there are none of, would stop it."""
    op.execute(KEYS)
