-- Deletes the engine's workflows of these lanes, with what they were given and came to, but for those that are in work;
-- how many went, and how many are in work. Without `ended`, only those that wait: the engine finds those by an index.
-- For erasing: a step's result holds what people wrote.
SET LOCAL ROLE recado_engine;
CREATE OR REPLACE FUNCTION erase_work(lanes text[], ended boolean) RETURNS TABLE (gone bigint, in_work bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE
    ids text[];
BEGIN
    IF ended THEN
        WITH deleted AS (
            DELETE FROM dbos.workflow_status w WHERE w.queue_partition_key = ANY(lanes) AND w.status <> 'PENDING'
            RETURNING w.workflow_uuid)
        SELECT coalesce(array_agg(workflow_uuid), '{}') INTO ids FROM deleted;
    ELSE
        WITH deleted AS (
            DELETE FROM dbos.workflow_status w
            WHERE w.queue_name IN ('turns', 'deliveries', 'media', 'voice') AND w.status = 'ENQUEUED'
              AND w.queue_partition_key = ANY(lanes)
            RETURNING w.workflow_uuid)
        SELECT coalesce(array_agg(workflow_uuid), '{}') INTO ids FROM deleted;
    END IF;
    -- These have no key that would take them along.
    DELETE FROM dbos.workflow_input i WHERE i.workflow_uuid = ANY(ids);
    DELETE FROM dbos.workflow_output o WHERE o.workflow_uuid = ANY(ids);
    DELETE FROM dbos.operation_outputs o WHERE o.workflow_uuid = ANY(ids);
    RETURN QUERY SELECT cardinality(ids)::bigint, count(*) FROM dbos.workflow_status w
        WHERE w.queue_name IN ('turns', 'deliveries', 'media', 'voice') AND w.status = 'PENDING'
          AND w.queue_partition_key = ANY(lanes);
END
$$;
REVOKE ALL ON FUNCTION erase_work(text[], boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_work(text[], boolean) TO recado_platform;
