-- Whether this platform administrator is there and active, and stays so until the commit: what an owner's
-- connection must ask of somebody who has no owner.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION administrator_stands(who uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    PERFORM FROM recado.users WHERE id = who AND owner_id IS NULL AND status = 'active' FOR SHARE;
    RETURN FOUND;
END
$$;
REVOKE ALL ON FUNCTION administrator_stands(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION administrator_stands(uuid) TO recado_app;
