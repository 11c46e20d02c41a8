-- How many workers died since then, whosever: a message that kills its workers is told from a machine on which
-- workers die anyway. Counts to 100.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION executor_deaths_since(moment timestamptz) RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    RETURN (SELECT count(*)::int FROM (SELECT FROM executor_deaths d WHERE d.at >= moment LIMIT 100) lately);
END
$$;
REVOKE ALL ON FUNCTION executor_deaths_since(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION executor_deaths_since(timestamptz) TO recado_app;
