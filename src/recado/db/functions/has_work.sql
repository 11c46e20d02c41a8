-- Whether the engine has, or had lately, a workflow of this id.
SET LOCAL ROLE recado_engine;
CREATE OR REPLACE FUNCTION has_work(workflow_id text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM dbos.workflow_status w WHERE w.workflow_uuid = workflow_id);
END
$$;
REVOKE ALL ON FUNCTION has_work(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION has_work(text) TO recado_app;
