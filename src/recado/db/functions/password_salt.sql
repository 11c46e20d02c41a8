-- The one salt of an address's users, so that a password tried against all of them is one hash. The grain is made
-- again where it is missing, as in a database that was emptied: a hash with another salt works and is moved.
SET LOCAL ROLE recado_platform;
CREATE OR REPLACE FUNCTION password_salt(address text) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM password_salts) THEN
        INSERT INTO password_salts DEFAULT VALUES ON CONFLICT DO NOTHING;
    END IF;
    RETURN (SELECT substr(sha256(grain || convert_to(address, 'UTF8')), 1, 16) FROM password_salts);
END
$$;
REVOKE ALL ON FUNCTION password_salt(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION password_salt(text) TO recado_app;
