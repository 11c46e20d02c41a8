-- Has the workflow engine enqueue work of ours for the owner that the transaction names, and for no other. The
-- lane is the conversation's, its name beginning with the owner.
SET LOCAL ROLE recado_engine;
CREATE OR REPLACE FUNCTION enqueue_work(
    name text, queue text, args json[], workflow_id text, queue_partition_key text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    IF ((name, queue) IN (('process_ai_response', 'turns'), ('send_whatsapp_message', 'deliveries'),
                          ('transcribe_audio', 'voice'), ('fetch_media', 'media'))) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE = 'no such work';
    END IF;
    -- As the engine reads it: an array may begin at another index than 1.
    IF (to_json(args) ->> 0 = nullif(current_setting('recado.owner_id', true), '')) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE = 'the work is of another owner';
    END IF;
    RETURN dbos.enqueue_workflow(
        name, queue, args, workflow_id => workflow_id,
        queue_partition_key => (to_json(args) ->> 0) || ':' || queue_partition_key);
END
$$;
REVOKE ALL ON FUNCTION enqueue_work(text, text, json[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enqueue_work(text, text, json[], text, text) TO recado_app;
