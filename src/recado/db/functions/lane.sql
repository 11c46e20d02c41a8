-- The name of a conversation's lane, for those who compare. `enqueue_work` and `enqueue_across` make the same: the
-- engine's role, which they run as, has no business in this schema.
CREATE OR REPLACE FUNCTION lane(owner_id text, conversation_id text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN owner_id || ':' || conversation_id;
