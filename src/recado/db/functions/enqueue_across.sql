-- Has the workflow engine enqueue work of ours for any owner. The lane is the conversation's, its name beginning
-- with the owner. `enqueue_work` says the same of one owner: the engine's role may use no function of this schema.
SET LOCAL ROLE recado_engine;
CREATE OR REPLACE FUNCTION enqueue_across(
    name text, queue text, args json[], workflow_id text, queue_partition_key text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    IF ((name, queue) IN (('process_ai_response', 'turns'), ('send_whatsapp_message', 'deliveries'),
                          ('transcribe_audio', 'voice'), ('fetch_media', 'media'))) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE = 'no such work';
    END IF;
    RETURN dbos.enqueue_workflow(
        name, queue, args, workflow_id => workflow_id,
        queue_partition_key => (to_json(args) ->> 0) || ':' || queue_partition_key);
END
$$;
REVOKE ALL ON FUNCTION enqueue_across(text, text, json[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enqueue_across(text, text, json[], text, text) TO recado_platform;
