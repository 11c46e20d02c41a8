-- A turn of the conversation, its quiet window counted from `received_at`; once for each `workflow_id`.
CREATE OR REPLACE FUNCTION enqueue_turn(
    owner_id uuid, conversation_id uuid, turn_id uuid, received_at timestamptz, workflow_id text
) RETURNS text
LANGUAGE sql AS $$
    SELECT recado.enqueue(
        'process_ai_response', 'turns',
        ARRAY[to_json(owner_id), to_json(conversation_id), to_json(turn_id),
              to_json((extract(epoch FROM received_at) * 1000)::bigint)],
        workflow_id, conversation_id)
$$;
