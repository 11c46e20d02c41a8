"""What is held for a reason that passes by itself is put back to work when it is due, in the order of its conversation.

A limit of Twilio's (`quota`) has a time at which it is tried again, which its delivery set (`journey/deliver`); what
was held while its owner was suspended (`owner`) is due once they are active. Nothing older than 24 hours is: its window
is closed, and people see it in `recado failed list` until then.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from recado.conversations.parts import QUEUED_AGAIN
from recado.db.pool import Pool

log = structlog.get_logger(__name__)

#: So many conversations go back to work in one round, each owner's in turn.
CONVERSATIONS = 100

# Everything of the conversation that waits for the same goes with what is due, or a later one would be said first. A
# suspended owner's stays.
_DELIVERIES = f"""
WITH due AS (
    SELECT owner_id, conversation_id FROM (
        SELECT m.owner_id, m.conversation_id,
               row_number() OVER (PARTITION BY m.owner_id ORDER BY min(m.look_again_at)) AS nth
        FROM messages m JOIN owners o ON o.id = m.owner_id AND o.status = 'active'
        WHERE m.look_again_at <= %(now)s AND m.status = 'held'
        GROUP BY m.owner_id, m.conversation_id) ranked
    ORDER BY nth LIMIT %(conversations)s
), waiting AS (
    SELECT m.owner_id, m.id, m.look_again_at FROM due
    JOIN messages m ON m.owner_id = due.owner_id AND m.conversation_id = due.conversation_id
    WHERE m.look_again_at IS NOT NULL AND m.status = 'held'
    ORDER BY m.id FOR UPDATE OF m SKIP LOCKED
), again AS (
    UPDATE messages m SET {QUEUED_AGAIN}
    FROM waiting w WHERE m.owner_id = w.owner_id AND m.id = w.id
    RETURNING m.owner_id, m.id, m.conversation_id, m.correlation_id, w.look_again_at
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
    SELECT owner_id, 'deliver', 'tried_again', conversation_id, id, correlation_id FROM again
)
SELECT id, enqueue_delivery(
    owner_id, conversation_id, id, id::text || ':again:' || (extract(epoch FROM look_again_at) * 1000)::bigint)
FROM (SELECT * FROM again ORDER BY id) ordered
"""  # noqa: S608 - the columns are a constant

_OWNERS = """
SELECT o.id FROM owners o WHERE o.status = 'active' AND EXISTS (
    SELECT FROM messages m WHERE m.owner_id = o.id AND m.held_for = 'owner'
    AND m.id > uuid_floor(%(now)s::timestamptz - interval '24 hours'))
ORDER BY random() LIMIT 20
"""
# Recovery finds them without work and gives them a turn of their conversation, or has what came with them fetched.
_RELEASE = """
WITH due AS (
    SELECT m.owner_id, m.id FROM messages m
    WHERE m.owner_id = %(owner)s AND m.held_for = 'owner'
      AND m.id > uuid_floor(%(now)s::timestamptz - interval '24 hours')
    ORDER BY m.id LIMIT %(most)s FOR UPDATE SKIP LOCKED
), again AS (
    UPDATE messages m SET status = 'received', held_for = NULL, turn_id = NULL, awaits_media = EXISTS (
        SELECT FROM media WHERE media.owner_id = m.owner_id AND media.message_id = m.id AND media.status = 'waiting')
    FROM due WHERE m.owner_id = due.owner_id AND m.id = due.id
    RETURNING m.owner_id, m.id, m.conversation_id, m.correlation_id, m.received_at, m.awaits_media
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
    SELECT owner_id, 'answer', 'tried_again', conversation_id, id, correlation_id FROM again
)
SELECT last.id, enqueue_turn(
    owner_id, conversation_id, gen_random_uuid(), received_at, last.id::text || ':again:' || gen_random_uuid())
FROM (SELECT DISTINCT ON (conversation_id) * FROM again WHERE NOT awaits_media ORDER BY conversation_id, id DESC) last
"""


async def put_back_deliveries(platform: Pool, now: datetime) -> int:
    """Give work to what is to be sent and is due, with what waits behind it; answers how many messages."""
    async with platform.connection() as conn:
        rows = await (await conn.execute(_DELIVERIES, {"now": now, "conversations": CONVERSATIONS})).fetchall()
    if rows:
        log.info("tried_again", task="again", messages=len(rows))
    return len(rows)


async def put_back_arrivals(platform: Pool, now: datetime) -> int:
    """Have answered what came while an owner was suspended who is active again; answers how many conversations."""
    count = 0
    async with platform.connection() as conn:
        owners = await (await conn.execute(_OWNERS, {"now": now})).fetchall()
        for row in owners:
            async with conn.transaction():
                done = await conn.execute(_RELEASE, {"owner": row["id"], "now": now, "most": 200})
                count += len(await done.fetchall())
    if count:
        log.info("tried_again", task="again", count=count)
    return count
