-- The fetching of what came with a message, and where there is `voice` that it is made text; the turn follows from
-- that. Once for each `workflow_id`.
CREATE OR REPLACE FUNCTION enqueue_media(
    owner_id uuid, conversation_id uuid, message_id uuid, received_at timestamptz, voice boolean, workflow_id text
) RETURNS text
LANGUAGE sql AS $$
    SELECT recado.enqueue(
        CASE WHEN voice THEN 'transcribe_audio' ELSE 'fetch_media' END, CASE WHEN voice THEN 'voice' ELSE 'media' END,
        ARRAY[to_json(owner_id), to_json(conversation_id), to_json(message_id),
              to_json((extract(epoch FROM received_at) * 1000)::bigint)],
        workflow_id, conversation_id)
$$;
