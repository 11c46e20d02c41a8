-- A telephone number and a business-scoped id that Twilio tells together are one person: makes one contact of two.
-- For accept, before it stores what tells them; own_key is the key of the number, or the id again where only that
-- came. Locks go contact, conversation, consent, as accept's own do.
CREATE OR REPLACE FUNCTION unite(whose uuid, own_key text, scoped text) RETURNS void
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
DECLARE
    kept uuid;
    other uuid;
    other_key text;
    twin record;
    work bigint;
BEGIN
    -- Whoever comes with this id at the same moment waits, and then sees what became of it.
    PERFORM pg_advisory_xact_lock(hashtextextended(whose::text || '/' || scoped, 1));
    SELECT id, identity_key INTO other, other_key FROM contacts WHERE owner_id = whose AND identity_key = scoped;
    IF own_key <> scoped THEN
        IF other IS NULL THEN
            -- Known under another number: they have changed it.
            SELECT id, identity_key INTO other, other_key FROM contacts
            WHERE owner_id = whose AND external_id = scoped AND identity_key <> own_key LIMIT 1;
        END IF;
        SELECT id INTO kept FROM contacts WHERE owner_id = whose AND identity_key = own_key;
    ELSIF other IS NOT NULL THEN
        SELECT id, identity_key INTO kept, own_key FROM contacts
        WHERE owner_id = whose AND external_id = scoped AND identity_key <> scoped LIMIT 1;
    END IF;
    IF other IS NULL OR own_key IS NULL THEN
        RETURN;
    END IF;

    PERFORM FROM contacts WHERE owner_id = whose AND id IN (kept, other) ORDER BY id FOR UPDATE;
    PERFORM FROM conversations
    WHERE owner_id = whose AND contact_id IN (kept, other) AND status <> 'closed' ORDER BY id FOR UPDATE;
    PERFORM pg_advisory_xact_lock(key) FROM (
        SELECT consent_key(whose, identity) AS key FROM unnest(ARRAY[own_key, other_key]) identity ORDER BY 1 OFFSET 0
    ) keys;

    -- An opt-out of either holds; what the contact said goes before what people decided.
    INSERT INTO suppressions AS s (owner_id, identity_key, reason, message_id, confirmation_id, created_at)
    SELECT owner_id, own_key, reason, message_id, confirmation_id, created_at
    FROM suppressions WHERE owner_id = whose AND identity_key = other_key
    ON CONFLICT (owner_id, identity_key) DO UPDATE
    SET reason = excluded.reason, message_id = excluded.message_id, confirmation_id = excluded.confirmation_id,
        created_at = excluded.created_at
    WHERE s.reason = 'people';

    IF kept IS NULL THEN
        UPDATE contacts SET identity_key = own_key, external_id = scoped WHERE owner_id = whose AND id = other;
    ELSIF other_key <> scoped THEN
        -- Both numbers have been used: whoever is asked about one of them is told of the other.
        UPDATE contacts SET external_id = NULL, same_as = kept WHERE owner_id = whose AND id = other;
    END IF;
    IF other_key = scoped THEN
        DELETE FROM suppressions WHERE owner_id = whose AND identity_key = scoped;
    END IF;
    IF kept IS NULL OR other_key <> scoped THEN
        RETURN;
    END IF;

    -- Of two conversations with one number the kept contact's goes on: what nobody has answered is answered there, in
    -- its lane, in order. A turn of the other one that has thought already finds nothing left to answer.
    FOR twin IN
        SELECT o.id, k.id AS kept_id, o.status, k.status AS kept_status, o.assignee, o.attention, o.last_inbound_at,
               o.budget_told
        FROM conversations o
        JOIN conversations k ON k.owner_id = whose AND k.contact_id = kept AND k.number_id = o.number_id
                            AND k.status <> 'closed'
        WHERE o.owner_id = whose AND o.contact_id = other AND o.status <> 'closed' ORDER BY o.id
    LOOP
        WITH moved AS (
            UPDATE messages SET conversation_id = twin.kept_id
            WHERE owner_id = whose AND conversation_id = twin.id AND direction = 'inbound' AND status <> 'answered'
            RETURNING id, status, awaits_media, received_at
        ), newest AS (
            SELECT id, received_at FROM moved WHERE status = 'received' AND NOT awaits_media ORDER BY id DESC LIMIT 1
        )
        SELECT count(enqueue_turn(whose, twin.kept_id, id, received_at, id::text || ':merged')) INTO work
        FROM newest;
        UPDATE conversations
        SET status = CASE WHEN twin.status = 'handoff' THEN 'handoff' ELSE status END,
            assignee = coalesce(assignee, twin.assignee), attention = coalesce(attention, twin.attention),
            last_inbound_at = greatest(last_inbound_at, twin.last_inbound_at),
            budget_told = greatest(budget_told, twin.budget_told), version = version + 1
        WHERE owner_id = whose AND id = twin.kept_id;
        UPDATE conversations
        SET status = 'closed', close_reason = 'merged', closed_at = clock_timestamp(), attention = NULL,
            version = version + 1
        WHERE owner_id = whose AND id = twin.id;
        INSERT INTO events (owner_id, step, what, conversation_id, data)
        VALUES (whose, 'accept', 'closed', twin.id, jsonb_build_object('merged_into', twin.kept_id));
        IF twin.status = 'handoff' AND twin.kept_status = 'open' THEN
            INSERT INTO events (owner_id, step, what, conversation_id, data)
            VALUES (whose, 'accept', 'taken', twin.kept_id, jsonb_build_object('merged_from', twin.id));
        END IF;
    END LOOP;
    UPDATE conversations SET contact_id = kept WHERE owner_id = whose AND contact_id = other;

    UPDATE contacts k
    SET external_id = scoped, profile_name = coalesce(k.profile_name, o.profile_name),
        -- What people said of either goes before what either wrote.
        language = CASE WHEN k.language IS NULL OR (k.language_why, o.language_why) = ('written', 'people')
                        THEN o.language ELSE k.language END,
        language_why = CASE WHEN k.language IS NULL OR (k.language_why, o.language_why) = ('written', 'people')
                            THEN o.language_why ELSE k.language_why END,
        opted_in_at = greatest(k.opted_in_at, o.opted_in_at), version = k.version + 1
    FROM contacts o WHERE k.owner_id = whose AND k.id = kept AND o.owner_id = whose AND o.id = other;
    UPDATE contacts SET same_as = kept WHERE owner_id = whose AND same_as = other;
    UPDATE contacts k SET same_as = o.same_as FROM contacts o
    WHERE k.owner_id = whose AND k.id = kept AND o.owner_id = whose AND o.id = other
      AND k.same_as IS NULL AND o.same_as IS DISTINCT FROM kept;
    DELETE FROM contacts WHERE owner_id = whose AND id = other;
    INSERT INTO events (owner_id, step, what, data)
    VALUES (whose, 'accept', 'contact_merged', jsonb_build_object('contact_id', kept, 'merged_id', other));
END
$$;
