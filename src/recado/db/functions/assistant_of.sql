-- The assistant of a number: the one it names, or the owner's default one; none where there is neither. Planned as
-- part of the statement that calls it, under whose rights it works.
CREATE OR REPLACE FUNCTION assistant_of(whose uuid, number uuid) RETURNS SETOF assistants
LANGUAGE sql STABLE AS $$
    SELECT a.* FROM recado.numbers n
    JOIN recado.assistants a ON a.owner_id = n.owner_id
         AND (a.id = n.assistant_id OR (n.assistant_id IS NULL AND a.is_default))
    WHERE n.owner_id = whose AND n.id = number
$$;
