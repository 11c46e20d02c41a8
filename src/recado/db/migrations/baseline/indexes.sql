-- What is looked for, table by table. An index that begins with the owner serves what an owner asks, one that does not
-- what goes across owners.

CREATE UNIQUE INDEX users_email_of_owner ON users (owner_id, email) NULLS NOT DISTINCT;
CREATE INDEX users_email ON users (email);

CREATE INDEX sessions_user ON sessions (user_id) WHERE revoked_at IS NULL;

CREATE INDEX known_browsers_user ON known_browsers (user_id);

CREATE UNIQUE INDEX invitations_one_open ON invitations (owner_id, email) NULLS NOT DISTINCT
    WHERE accepted_at IS NULL AND revoked_at IS NULL;

CREATE INDEX sign_in_failures_last ON sign_in_failures (last_at);

CREATE INDEX api_keys_made_by ON api_keys (made_by_id) WHERE made_by_id IS NOT NULL;

CREATE INDEX idempotency_keys_old ON idempotency_keys (owner_id, created_at);
-- For the sweep of owners who don't call any more; an owner who calls sweeps their own.
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE INDEX audit_owner ON audit (owner_id, id);

CREATE UNIQUE INDEX assistants_one_default ON assistants (owner_id) WHERE is_default;

CREATE UNIQUE INDEX twilio_accounts_sid ON twilio_accounts (account_sid) WHERE removed_at IS NULL;
-- Removed ones too.
CREATE INDEX twilio_accounts_sids ON twilio_accounts (account_sid);

CREATE INDEX numbers_address ON numbers (address);

CREATE INDEX contacts_external_id ON contacts (owner_id, external_id) WHERE external_id IS NOT NULL;

-- `accept` finds or makes the conversation by it.
CREATE UNIQUE INDEX conversations_one_not_closed ON conversations (owner_id, number_id, contact_id)
    WHERE status <> 'closed';
CREATE INDEX conversations_handoff ON conversations (owner_id) WHERE status = 'handoff';
CREATE INDEX conversations_contact ON conversations (owner_id, contact_id, id);

-- A repeated MessageSid is no new message, whoever repeats it.
CREATE UNIQUE INDEX messages_provider_sid ON messages (account_id, provider_sid) WHERE provider_sid IS NOT NULL;
CREATE INDEX messages_history ON messages (owner_id, conversation_id, id);
CREATE INDEX messages_failed ON messages (owner_id, id) WHERE status IN ('failed', 'held');
CREATE INDEX messages_in_work ON messages (id) WHERE status IN ('received', 'queued', 'held');
CREATE INDEX messages_awaiting_media ON messages (received_at) WHERE awaits_media;
-- Without this and the next, each message or turn that is removed would be looked for in every message of all owners.
CREATE INDEX messages_turn ON messages (owner_id, turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX messages_reply_to ON messages (owner_id, reply_to) WHERE reply_to IS NOT NULL;
-- What waits for its turn behind what is held, and what of all owners is due.
CREATE INDEX messages_look_again ON messages (owner_id, conversation_id, id) WHERE look_again_at IS NOT NULL;
CREATE INDEX messages_held_for_owner ON messages (owner_id, id) WHERE held_for = 'owner';
CREATE INDEX messages_due ON messages (look_again_at) WHERE look_again_at IS NOT NULL;
-- Recovery asks each owner's oldest first.
CREATE INDEX messages_waiting ON messages (owner_id, id) WHERE status IN ('received', 'queued');

CREATE INDEX media_message ON media (owner_id, message_id) WHERE message_id IS NOT NULL;
-- Why one was not understood, where that may have been put right.
CREATE INDEX media_curable ON media (owner_id, message_id)
    WHERE reason IN ('no_model', 'no_transcriber', 'over_budget', 'unavailable', 'slow', 'format', 'login',
        'account', 'failing', 'storage', 'late');

CREATE INDEX message_parts_provider_sid ON message_parts (provider_sid) WHERE provider_sid IS NOT NULL;
CREATE INDEX message_parts_retired ON message_parts (owner_id) WHERE retired_sids <> '{}';
CREATE INDEX message_parts_with_twilio ON message_parts (owner_id, message_id)
    WHERE status IN ('accepted', 'scheduled', 'queued', 'sending');

CREATE INDEX delivery_attempts_message ON delivery_attempts (owner_id, message_id, part);
-- Of two executors that both think a message theirs only one begins.
CREATE UNIQUE INDEX delivery_attempts_one_open ON delivery_attempts (owner_id, message_id, part)
    WHERE outcome IN ('started', 'unknown');

CREATE INDEX events_message ON events (owner_id, correlation_id);

CREATE INDEX executor_deaths_at ON executor_deaths (at);
