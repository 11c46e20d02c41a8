-- Whether there is voice among what came with a message of this kind; `accept` decides the same of what it stores.
CREATE OR REPLACE FUNCTION has_voice(whose uuid, message uuid, kind text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT kind = 'audio' OR EXISTS (
        SELECT FROM recado.media a
        WHERE a.owner_id = whose AND a.message_id = message AND starts_with(a.announced_type, 'audio/'))
$$;
