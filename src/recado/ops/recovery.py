"""Recovery: nothing that was accepted stays without work.

Crashes are met by the executors' locks (`ops/executors`). This is the net below: messages that wait although no
workflow stands behind them, deliveries that Twilio never reported on, workflows that a lost answer of the database left
to nobody. Each is found by looking at the rows, and put right by the same doors that new work comes through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import structlog

from recado.channels.port import Sender, SendError
from recado.db.pool import PASSING, Pool, Row
from recado.db.scope import scoped
from recado.db.work import DELIVERIES, MEDIA, TURNS, VOICE
from recado.errors import NotFound
from recado.journey.deliver import aftermath

log = structlog.get_logger(__name__)

#: A message without work is looked at after this time: long after its workflow would have been there.
STRAY_S = 30
#: How many such messages get work in one round.
STRAYS = 100
#: Attachments that no worker has come to after this time are given up, so that the conversation goes on.
LATE_S = 120
#: How often a message is given new work before it is shown as failed.
TRIES = 5
#: A message that Twilio took and has said nothing of for this long is asked after.
SILENCE_S = 120
#: How many are asked after in a round, of one owner and of all; how many at once, and how long one may take.
SILENT_EACH, SILENT_MOST, ASKED_AT_ONCE, ASK_S = 10, 100, 10, 10.0

# Owners take turns: thousands of one owner's, which a number that was routed late has, hide nobody's.
_STRAYS = f"""
WITH RECURSIVE waiting (owner_id) AS (
    (SELECT owner_id FROM messages WHERE status IN ('received', 'queued') ORDER BY owner_id LIMIT 1)
    UNION ALL
    SELECT (SELECT m.owner_id FROM messages m WHERE m.status IN ('received', 'queued')
            AND m.owner_id > waiting.owner_id ORDER BY m.owner_id LIMIT 1)
    FROM waiting WHERE waiting.owner_id IS NOT NULL
), stray AS (
    SELECT found.* FROM waiting CROSS JOIN LATERAL (
    SELECT m.owner_id, m.id, m.conversation_id, m.direction, m.received_at, row_number() OVER (ORDER BY m.id) AS nth
    FROM messages m
    WHERE m.owner_id = waiting.owner_id AND m.status IN ('received', 'queued')
      -- The turn of what is being fetched takes all that waits in its conversation.
      AND (m.direction = 'outbound' OR NOT EXISTS (
            SELECT FROM messages a WHERE a.owner_id = m.owner_id AND a.conversation_id = m.conversation_id
            AND a.awaits_media))
      AND m.id < uuid_floor(now() - make_interval(secs => %(stray_s)s))
      AND (m.direction = 'inbound' OR NOT EXISTS (
            SELECT FROM message_parts p WHERE p.owner_id = m.owner_id AND p.message_id = m.id)
           OR EXISTS (SELECT FROM message_parts p
                      WHERE p.owner_id = m.owner_id AND p.message_id = m.id AND p.status = 'waiting'))
      AND NOT EXISTS (
            SELECT FROM dbos.workflow_status w
            WHERE w.queue_name = CASE m.direction WHEN 'inbound' THEN '{TURNS}' ELSE '{DELIVERIES}' END
              AND w.status IN ('ENQUEUED', 'PENDING')
              AND w.queue_partition_key = lane(m.owner_id::text, m.conversation_id::text))
    ORDER BY m.id LIMIT %(most)s) found
    ORDER BY nth, id LIMIT %(most)s
), counted AS (
    SELECT stray.*, (SELECT count(*) FROM generate_series(1, %(tries)s) n
                     JOIN dbos.workflow_status w ON w.workflow_uuid = stray.id::text || ':' || n) AS tries
    FROM stray
), given_up AS (
    UPDATE messages m SET status = 'failed' FROM counted c
    WHERE m.owner_id = c.owner_id AND m.id = c.id AND c.tries >= %(tries)s
    RETURNING m.owner_id, m.id, m.conversation_id, m.correlation_id
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
    SELECT owner_id, 'answer', 'gave_up', conversation_id, id, correlation_id FROM given_up
)
SELECT id, CASE direction
    WHEN 'inbound' THEN enqueue_turn(owner_id, conversation_id, id, received_at, id::text || ':' || (tries + 1))
    ELSE enqueue_delivery(owner_id, conversation_id, id, id::text || ':' || (tries + 1))
    END AS workflow
FROM counted WHERE tries < %(tries)s
"""  # noqa: S608 - constants


# What is found of each owner in turn, and each message's work by its lane: a look at all that waits would take as long
# as there is of it, squared.
_STRAY_MEDIA = f"""
WITH found AS (
    SELECT m.*, row_number() OVER (PARTITION BY m.owner_id ORDER BY m.received_at) AS nth
    FROM messages m
    WHERE m.awaits_media AND m.id < uuid_floor(now() - make_interval(secs => %(stray_s)s))
      AND NOT EXISTS (
            SELECT FROM dbos.workflow_status w
            WHERE w.queue_name IN ('{VOICE}', '{MEDIA}') AND w.status IN ('ENQUEUED', 'PENDING')
              AND w.queue_partition_key = lane(m.owner_id::text, m.conversation_id::text)
              AND starts_with(w.workflow_uuid, m.id::text))
), stray AS (
    SELECT m.owner_id, m.id, m.conversation_id, m.kind, m.received_at,
           (SELECT count(*) FROM generate_series(1, %(tries)s) n
            JOIN dbos.workflow_status w ON w.workflow_uuid = m.id::text || ':media:' || n) AS tries
    FROM found m ORDER BY nth, received_at LIMIT 100
)
SELECT id, enqueue_media(
    owner_id, conversation_id, id, received_at, has_voice(owner_id, id, kind), id::text || ':media:' || (tries + 1))
FROM stray WHERE tries < %(tries)s
"""  # noqa: S608 - constants


async def fetch_stray_media(platform: Pool) -> int:
    """Enqueue work for attachments that are awaited although none stands behind them; answers how many messages.

    What becomes routed waits like that, and what an error has ended.
    """
    async with platform.connection() as conn:
        rows = await (await conn.execute(_STRAY_MEDIA, {"stray_s": STRAY_S, "tries": TRIES})).fetchall()
    if rows:
        log.warning("stray_media_enqueued", task="recovery", messages=len(rows))
    return len(rows)


# By the database's clock, as the engine's rows are: a worker's may be ahead, and would give up what has just come. Work
# that was enqueued for it lately, by a retry for instance, has its time too; what a living worker has begun has as
# long as the longest note takes. The turn's id is the message's.
_LATE = f"""
WITH found AS (
    SELECT m.owner_id, m.id, row_number() OVER (PARTITION BY m.owner_id ORDER BY m.received_at) AS nth FROM messages m
    WHERE m.awaits_media AND m.received_at < now() - make_interval(secs => %(late_s)s)
      AND NOT EXISTS (
            SELECT FROM dbos.workflow_status w
            WHERE w.queue_name IN ('{VOICE}', '{MEDIA}') AND w.status IN ('ENQUEUED', 'PENDING')
              AND w.queue_partition_key = lane(m.owner_id::text, m.conversation_id::text)
              AND starts_with(w.workflow_uuid, m.id::text)
              AND (w.created_at > extract(epoch FROM now() - make_interval(secs => %(late_s)s)) * 1000
                   OR w.status = 'PENDING'
                   AND w.started_at_epoch_ms > extract(epoch FROM now() - %(at_work)s::interval) * 1000
                   AND EXISTS (SELECT FROM executors e WHERE e.id = w.executor_id)))
), picked AS (
    SELECT owner_id, id FROM found ORDER BY nth, id LIMIT 100
), late AS (
    SELECT m.owner_id, m.id FROM picked JOIN messages m USING (owner_id, id)
    WHERE m.awaits_media FOR UPDATE OF m SKIP LOCKED
), message AS (
    UPDATE messages m SET awaits_media = false FROM late WHERE m.owner_id = late.owner_id AND m.id = late.id
    RETURNING m.owner_id, m.id, m.conversation_id, m.correlation_id, m.received_at
), given_up AS (
    UPDATE media SET status = 'failed', reason = 'late', settled_at = now() FROM message
    WHERE media.owner_id = message.owner_id AND media.message_id = message.id AND media.status = 'waiting'
), event AS (
    INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id)
    SELECT owner_id, 'understand', 'late', conversation_id, id, correlation_id FROM message
)
SELECT id, enqueue_turn(
    owner_id, conversation_id,
    CASE WHEN EXISTS (SELECT FROM turns t WHERE t.owner_id = message.owner_id AND t.id = message.id)
         THEN gen_random_uuid() ELSE id END,
    received_at,
    CASE WHEN EXISTS (SELECT FROM dbos.workflow_status w WHERE w.workflow_uuid = message.id::text)
         THEN gen_random_uuid()::text ELSE id::text END)
FROM message
"""  # noqa: S608 - constants


async def give_up_late_media(platform: Pool, *, at_work: timedelta) -> int:
    """Let the turns have messages whose attachments nobody has settled in time; answers how many there were.

    `at_work` is what a worker that has begun may take. Who fetches them later still does so (`understand/attachments`).
    """
    async with platform.connection() as conn:
        rows = await (await conn.execute(_LATE, {"late_s": LATE_S, "at_work": at_work})).fetchall()
    if rows:
        log.warning("media_late", task="recovery", messages=len(rows))
    return len(rows)


async def give_work_to_strays(platform: Pool) -> int:
    """Enqueue work for messages that wait without any; answers how many there were.

    Two workers that do so at once give the same workflow ids: the second changes nothing.
    """
    async with platform.connection() as conn:
        rows = await (await conn.execute(_STRAYS, {"stray_s": STRAY_S, "tries": TRIES, "most": STRAYS})).fetchall()
    if rows:
        log.warning("strays_enqueued", task="recovery", messages=len(rows))
    return len(rows)


# Marked as asked after in the statement that finds them, before anybody asks: what can't be answered takes its turn
# again and hides nobody. Owners take turns.
_SILENT = """
WITH silent AS (
    SELECT p.owner_id, p.message_id, p.part,
           row_number() OVER (PARTITION BY p.owner_id ORDER BY coalesce(p.asked_at, p.updated_at)) AS nth
    FROM message_parts p
    WHERE p.status IN ('accepted', 'scheduled', 'queued', 'sending') AND p.provider_sid IS NOT NULL
      AND greatest(p.updated_at, p.asked_at) < now() - make_interval(secs => %(silence_s)s)
      AND p.updated_at > now() - interval '5 hours'
), picked AS (
    SELECT * FROM silent WHERE nth <= %(each)s ORDER BY nth LIMIT %(most)s
), locked AS (
    SELECT p.owner_id, p.message_id, p.part, picked.nth, p.asked_at AS asked_before FROM picked
    JOIN message_parts p USING (owner_id, message_id, part) FOR UPDATE OF p SKIP LOCKED
), asked AS (
    UPDATE message_parts p SET asked_at = now() FROM locked
    WHERE p.owner_id = locked.owner_id AND p.message_id = locked.message_id AND p.part = locked.part
    RETURNING p.owner_id, p.message_id, p.part, p.provider_sid, locked.nth, locked.asked_before
)
SELECT asked.*, m.account_id FROM asked
JOIN messages m ON m.owner_id = asked.owner_id AND m.id = asked.message_id ORDER BY asked.nth
"""


async def ask_after_silent(platform: Pool, pool: Pool, sender_of: Callable[[UUID, UUID], Awaitable[Sender]]) -> int:
    """Fetch the status of parts that Twilio took and never reported on; answers how many it told.

    A few of each owner, who take turns; of one owner's one at a time, so that an account that hangs or refuses holds up
    itself alone. After two that could not be asked after the owner's others wait for the next round, and come first.
    """
    async with platform.connection() as conn:
        cursor = await conn.execute(_SILENT, {"silence_s": SILENCE_S, "each": SILENT_EACH, "most": SILENT_MOST})
        rows = await cursor.fetchall()
    owned: dict[UUID, list[Row]] = {}
    for row in rows:
        owned.setdefault(row["owner_id"], []).append(row)
    at_once = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(each: list[Row]) -> int:
        told = failures = 0
        for row in each:
            async with at_once:
                if await _ask(pool, sender_of, row):
                    told += 1
                else:
                    failures += 1
            if failures == 2:
                await _not_asked(platform, each[each.index(row) + 1 :])
                break
        return told

    return sum(await asyncio.gather(*map(ask, owned.values())))


_NOT_ASKED = """
UPDATE message_parts p SET asked_at = given.asked_at
FROM unnest(%s::uuid[], %s::uuid[], %s::smallint[], %s::timestamptz[]) AS given (owner_id, message_id, part, asked_at)
WHERE p.owner_id = given.owner_id AND p.message_id = given.message_id AND p.part = given.part
"""


async def _not_asked(platform: Pool, rows: list[Row]) -> None:
    """Give these their place back: of what was marked at once, those that fail would come first for ever."""
    columns = ("owner_id", "message_id", "part", "asked_before")
    async with platform.connection() as conn:
        await conn.execute(_NOT_ASKED, [[row[column] for row in rows] for column in columns])


async def _ask(pool: Pool, sender_of: Callable[[UUID, UUID], Awaitable[Sender]], row: Row) -> bool:
    """Ask after one part and keep what is said; whether anything was."""
    try:
        async with asyncio.timeout(ASK_S):
            sender = await sender_of(row["owner_id"], row["account_id"])
            receipt = await sender.fetch(row["provider_sid"])
        async with scoped(pool, row["owner_id"]) as scope:
            await aftermath.apply_status(
                scope,
                message_id=row["message_id"],
                part=row["part"],
                sid=row["provider_sid"],
                status=receipt.status,
                error_code=receipt.error_code,
            )
    except (SendError, NotFound, TimeoutError) as error:
        log.info("status_not_fetched", task="silent", message_id=row["message_id"], error=type(error).__name__)
        return False
    except PASSING as error:
        log.warning("database_unavailable", task="silent", error=type(error).__name__)
        return False
    return True
