-- The id of the least of the owner's events that an enabled webhook has yet to be posted, and that nothing may delete
-- before; NULL: there is none. A disabled webhook goes on with what is there when it is enabled.
CREATE OR REPLACE FUNCTION events_needed(whose uuid) RETURNS bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT min(least(w.reached + 1, (SELECT min(q.event_id) FROM recado.webhook_waiting q
                                     WHERE q.owner_id = w.owner_id AND q.webhook_id = w.id)))
    FROM recado.webhooks w WHERE w.owner_id = whose AND w.status = 'enabled';
END;
