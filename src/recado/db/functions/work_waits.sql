-- By queue: how many workflows are due and not begun, counted up to `most`, and since how many seconds the oldest waits.
-- Rights of columns would do as well, but a `migrate` of 0.1.0 takes those away again.
SET LOCAL ROLE recado_engine;
CREATE OR REPLACE FUNCTION work_waits(queues text[], most integer)
RETURNS TABLE (queue text, depth bigint, oldest_s double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE now_ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
BEGIN
    -- By the index of what is in flight, whose order is the engine's. What is put back is due when it says so.
    RETURN QUERY
    SELECT q, count(waits.due_ms), greatest(0, coalesce(now_ms - min(waits.due_ms), 0)) / 1000.0::double precision
    FROM unnest(queues) q LEFT JOIN LATERAL (
        SELECT greatest(w.created_at, coalesce(w.delay_until_epoch_ms, 0)) AS due_ms FROM dbos.workflow_status w
        WHERE w.queue_name = q AND w.status = 'ENQUEUED' AND coalesce(w.delay_until_epoch_ms, 0) <= now_ms
        ORDER BY w.priority, w.created_at LIMIT most
    ) waits ON true
    GROUP BY q;
END
$$;
REVOKE ALL ON FUNCTION work_waits(text[], integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work_waits(text[], integer) TO recado_platform;
