-- The advisory lock of a contact's consent. A delivery shares it while it looks whether it may begin, an opt-out
-- has it alone: whichever is first, no attempt begins after the opt-out was committed.
CREATE OR REPLACE FUNCTION consent_key(whose uuid, identity text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashtextextended(whose::text || '/' || identity, 0);
