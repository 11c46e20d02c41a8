-- How the engine's unfinished work stands, by queue, status and the version that has begun it: how much there is, how
-- much of it is due, and since how many seconds the oldest that is due waits. No owner and no message can be told of it.
-- Rights of columns would do as well, but a `migrate` of 0.1.0 takes those away again.
SET LOCAL ROLE recado_engine;
CREATE OR REPLACE FUNCTION work_stands()
RETURNS TABLE (queue text, status text, version text, amount bigint, due bigint, oldest_s double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
DECLARE now_ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
BEGIN
    RETURN QUERY
    SELECT w.queue_name, w.status, w.application_version, count(*),
           count(*) FILTER (WHERE coalesce(w.delay_until_epoch_ms, 0) <= now_ms),
           greatest(0, now_ms - min(greatest(w.created_at, w.delay_until_epoch_ms))
               FILTER (WHERE coalesce(w.delay_until_epoch_ms, 0) <= now_ms)) / 1000.0::double precision
    FROM dbos.workflow_status w
    WHERE w.status IN ('ENQUEUED', 'PENDING') AND w.queue_name IS NOT NULL
    GROUP BY w.queue_name, w.status, w.application_version;
END
$$;
REVOKE ALL ON FUNCTION work_stands() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work_stands() TO recado_platform;
