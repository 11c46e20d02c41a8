-- The delivery of an outbound message, in its conversation's lane; once for each `workflow_id`.
CREATE OR REPLACE FUNCTION enqueue_delivery(owner_id uuid, conversation_id uuid, message_id uuid, workflow_id text)
RETURNS text
LANGUAGE sql AS $$
    SELECT recado.enqueue(
        'send_whatsapp_message', 'deliveries', ARRAY[to_json(owner_id), to_json(message_id)],
        workflow_id, conversation_id)
$$;
