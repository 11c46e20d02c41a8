-- What an attachment takes of the storage.
CREATE OR REPLACE FUNCTION kept_bytes(m media) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN m.storage_key IS NULL THEN 0 ELSE coalesce(m.size_bytes, 0) END
$$;
