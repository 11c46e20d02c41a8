-- Has the workflow engine do work for an owner, through the door of who asks: one owner's, or across owners. What
-- is enqueued is said by `enqueue_turn`, `enqueue_delivery` and `enqueue_media` alone.
CREATE OR REPLACE FUNCTION enqueue(name text, queue text, args json[], workflow_id text, conversation_id uuid)
RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF current_user = 'recado_platform' THEN
        RETURN recado.enqueue_across(name, queue, args, workflow_id, conversation_id::text);
    END IF;
    RETURN recado.enqueue_work(name, queue, args, workflow_id, conversation_id::text);
END
$$;
