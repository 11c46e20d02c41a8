-- The least UUIDv7 of a moment: rows by id are rows by time.
CREATE OR REPLACE FUNCTION uuid_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;
