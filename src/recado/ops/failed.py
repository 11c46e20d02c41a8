"""Messages that failed or are held: which, why, and how they are tried again without anyone getting one twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.channels.twilio.addresses import is_whatsapp
from recado.channels.twilio.codes import CODES
from recado.channels.twilio.numbers import OTHER_CHANNEL
from recado.conversations import media as attachments
from recado.conversations.holding import CAUSES, HeldFor
from recado.conversations.parts import WAITING, reopen
from recado.db.pool import Connection, Row
from recado.db.scope import Scope
from recado.delivery.status import FAILURES
from recado.errors import Conflict, NotFound
from recado.ids import new_id

Retried = Literal["queued", "in work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A message that stopped on its way; `text` says why, in words for its owner."""

    id: UUID
    owner_id: UUID
    owner: str
    direction: str
    author: str
    status: str
    held_for: HeldFor | None
    error_code: int | None
    text: str
    conversation_id: UUID
    since: datetime
    age_s: float


_CURABLE = ", ".join(f"'{reason}'" for reason in attachments.CURABLE)
# Its answer went without what came with it, for a reason that may have been put right; there is an index for these.
_UNHEARD = f"""
    m.direction = 'inbound' AND m.transcript IS NULL AND EXISTS (
        SELECT FROM media a WHERE a.owner_id = m.owner_id AND a.message_id = m.id
        AND a.reason IN ({_CURABLE}))
"""
#: What is older is not retried, and not listed: to it WhatsApp takes no answer that is not a template.
DAY = "interval '24 hours'"
# Owner by owner, because the index of what failed or is held begins with the owner. An id is as old as its message, but
# for what two machines' clocks are apart.
_LISTED = f"""
    SELECT w.id AS owner_id, f.id FROM owners w, LATERAL (
        SELECT m.id FROM messages m WHERE m.owner_id = w.id AND m.status IN ('failed', 'held')
          AND m.id > uuid_floor(now() - interval '25 hours')) f
    UNION ALL
    SELECT m.owner_id, m.id FROM messages m
    WHERE m.status = 'answered' AND m.id > uuid_floor(now() - interval '24 hours') AND {_UNHEARD}
"""  # noqa: S608 - the condition is a constant
# Why nothing is to be done about `m`, of the conversation `v`, any more; NULL when there is.
# - People answered: somebody of the team, or the owner's own program, wrote after it.
# - A turn covered it: it was shown to the assistant as what was said before, which answered something later.
# - A reply is overtaken: the conversation went on, and it would answer what nobody asks any more.
_DONE = f"""
    CASE WHEN m.received_at <= now() - {DAY} THEN 'it is older than 24 hours'
         WHEN v.status = 'closed' THEN 'its conversation is closed'
         WHEN m.author IN ('contact', 'assistant', 'system') AND EXISTS (
            SELECT FROM messages a WHERE a.owner_id = m.owner_id AND a.conversation_id = m.conversation_id
            AND a.id > m.id AND a.direction = 'outbound' AND a.author IN ('operator', 'api')
            AND a.status NOT IN ('failed', 'held')) THEN 'people have answered'
         WHEN m.direction = 'inbound' AND m.status = 'held' AND m.turn_id IS NOT NULL AND EXISTS (
            SELECT FROM messages a JOIN turns t ON t.owner_id = a.owner_id AND t.id = a.turn_id
            WHERE a.owner_id = m.owner_id AND a.conversation_id = m.conversation_id AND a.id > m.id
            AND a.direction = 'inbound' AND a.status = 'answered' AND t.outcome IN ('answered', 'keyless')
            ) THEN 'a later turn has covered it'
         WHEN m.direction = 'outbound' AND m.author IN ('assistant', 'system') AND EXISTS (
            SELECT FROM messages a WHERE a.owner_id = m.owner_id AND a.conversation_id = m.conversation_id
            AND a.id > m.id AND a.direction = 'outbound' AND a.author = 'assistant'
            AND a.turn_id IS DISTINCT FROM m.turn_id AND a.status NOT IN ('failed', 'held', 'queued')
            ) THEN 'a later reply has taken its place'
         WHEN m.direction = 'inbound' AND v.last_inbound_at <= now() - {DAY} THEN 'its 24 hours are over'
    END
"""  # noqa: S608 - the interval is a constant


async def failures(platform: Connection, *, owner_id: UUID | None = None, limit: int | None = None) -> list[Failure]:
    """What failed, is held, or was answered without what came with it, newest first.

    Of the last 24 hours, and only what is not done: what people answered or closed, what a later turn covered, and a
    reply that a later one overtook, are.
    """
    cursor = await platform.execute(
        f"""
        SELECT m.id, m.owner_id, o.name AS owner, m.direction, m.author, m.status,
               m.error_code, m.reason, m.held_for, m.conversation_id, m.received_at,
               extract(epoch FROM now() - m.received_at)::float8 AS age_s,
               (SELECT min(a.reason) FROM media a WHERE a.owner_id = m.owner_id AND a.message_id = m.id) AS unheard
        FROM ({_LISTED}) listed
        JOIN messages m ON m.owner_id = listed.owner_id AND m.id = listed.id
        JOIN owners o ON o.id = m.owner_id
        JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
        WHERE (%(owner_id)s::uuid IS NULL OR m.owner_id = %(owner_id)s) AND ({_DONE}) IS NULL
        ORDER BY m.id DESC LIMIT %(limit)s
        """,  # noqa: S608 - the condition is a constant
        {"owner_id": owner_id, "limit": limit},
    )
    return [
        Failure(
            id=row["id"],
            owner_id=row["owner_id"],
            owner=row["owner"],
            direction=row["direction"],
            author=row["author"],
            status=row["status"],
            held_for=row["held_for"],
            error_code=row["error_code"],
            text=_why(row),
            conversation_id=row["conversation_id"],
            since=row["received_at"],
            age_s=row["age_s"],
        )
        for row in await cursor.fetchall()
    ]


_WAITING = f"""
    SELECT m.status, m.held_for, count(*) AS n
    FROM ({_LISTED}) listed
    JOIN messages m ON m.owner_id = listed.owner_id AND m.id = listed.id
    JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
    WHERE ({_DONE}) IS NULL
    GROUP BY m.status, m.held_for ORDER BY n DESC, m.held_for
"""  # noqa: S608 - the conditions are constants


async def waiting(platform: Connection) -> list[Row]:
    """How many messages `failures` lists, by `status` and `held_for`, as `n`, most first."""
    cursor = await platform.execute(_WAITING)
    return await cursor.fetchall()


#: The words for `messages.reason`.
REASONS = {
    "no_public_url": "Twilio fetches attachments from RECADO_PUBLIC_URL, which is not set.",
    "other_channel": "The contact wrote by another channel: recado answers on WhatsApp only.",
    "media_gone": "The attachment is not there any more.",
    "no_template": "The 24 hours are over, and its assistant has no fallback template: `recado templates fallback`.",
    "template_unusable": "The 24 hours are over, and the fallback template is not approved, or not of this account.",
    "template_too_small": "The 24 hours are over, and it is more than the fallback template can carry.",
}


def _why(row: Row) -> str:
    code = row["error_code"]
    if row["reason"] in REASONS:
        return REASONS[row["reason"]]
    if code is not None:
        return CODES[code][1] if code in CODES else f"Twilio's error {code}: see its error dictionary."
    if row["held_for"] is not None:
        return CAUSES[row["held_for"]].means
    if row["direction"] == "outbound":
        return "Nobody could say whether Twilio took it, or the attempts were used up."
    if row["status"] == "answered":
        return f"It was answered without what came with it ({row['unheard']}): once that is put right, retry it."
    return "No worker could answer it."


async def retry(platform: Connection, message_id: UUID) -> Retried:
    """Give the message new work; `in work` when it has some already. One transaction, safe when done twice at once.

    Of an outbound message only the parts that failed are sent again, never one that Twilio took and did not fail. An
    attempt whose outcome nobody saw is looked up in Twilio's list first, as always.

    What came with an inbound message, and was not had or not understood for a reason that may have been put right, is
    tried again before its turn; also where it was answered without.

    Raises NotFound; Conflict when there is nothing to retry, when it is done or older than 24 hours, or when it would
    change nothing now.
    """
    async with platform.transaction():
        # Parts before message: the order in which deliveries and callbacks lock them.
        await platform.execute(
            """
            SELECT p.part FROM owners o JOIN message_parts p ON p.owner_id = o.id AND p.message_id = %s
            ORDER BY p.part FOR UPDATE OF p
            """,
            [message_id],
        )
        cursor = await platform.execute(
            f"""
            SELECT m.owner_id, m.id, m.conversation_id, m.correlation_id, m.direction, m.status, m.received_at,
                   {_UNHEARD} AS unheard, {_DONE} AS done, m.held_for, c.address,
                   v.status AS conversation_status, o.status AS owner_status, s.identity_key IS NOT NULL AS suppressed
            FROM owners o
            JOIN messages m ON m.owner_id = o.id AND m.id = %s
            JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
            JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
            LEFT JOIN suppressions s ON s.owner_id = c.owner_id AND s.identity_key = c.identity_key
            FOR UPDATE OF m
            """,  # noqa: S608 - the condition is a constant
            [message_id],
        )
        message = await cursor.fetchone()
        if message is None:
            raise NotFound(f"no message {message_id}")
        if message["status"] in ("queued", "received"):
            return "in work"
        if message["status"] not in ("failed", "held") and not (message["status"] == "answered" and message["unheard"]):
            raise Conflict(
                f"the message is {message['status']}: only failed and held ones are retried, and answered ones whose "
                "attachments were not understood for a reason that can be put right"
            )
        if message["held_for"] == "channel" or not is_whatsapp(message["address"]):
            raise Conflict(OTHER_CHANNEL)
        if message["done"] is not None:
            raise Conflict(f"nothing is to be done about the message: {message['done']}")
        if message["direction"] == "outbound":
            await _send_again(platform, message)
        else:
            await _answer_again(platform, message)
    return "queued"


async def _send_again(platform: Connection, message: Row) -> None:
    cursor = await platform.execute(
        "SELECT part, status, provider_sid FROM message_parts WHERE owner_id = %s AND message_id = %s ORDER BY part",
        [message["owner_id"], message["id"]],
    )
    parts = await cursor.fetchall()
    again = [row for row in parts if row["status"] in FAILURES]
    if parts and not again and all(row["status"] != WAITING for row in parts):
        raise Conflict("Twilio has taken every part of the message: nothing is left to send")
    await reopen(Scope(platform, message["owner_id"]), message["id"])
    workflow_id = await _note(
        platform, message, step="deliver", sids=[row["provider_sid"] for row in again if row["provider_sid"]]
    )
    await platform.execute(
        """
        SELECT enqueue_delivery(%(owner_id)s::uuid, %(conversation_id)s::uuid, %(id)s::uuid, %(workflow_id)s::text)
        """,
        {**message, "workflow_id": workflow_id},
    )


async def _answer_again(platform: Connection, message: Row) -> None:
    if message["owner_status"] != "active":
        raise Conflict("the owner is suspended: the message would only be held again")
    if message["suppressed"]:
        raise Conflict("the contact wants no messages: the message would only be held again")
    if message["conversation_status"] != "open":
        raise Conflict(f"the conversation is {message['conversation_status']}: the assistant stays silent in it")
    if message["unheard"]:
        await platform.execute(_WAIT_AGAIN, message)
    changed = await platform.execute(
        """
        UPDATE messages m SET status = 'received', held_for = NULL, look_again_at = NULL, starts = 0, begun_at = NULL,
            error_code = NULL, turn_id = NULL, awaits_media = EXISTS (
            SELECT FROM media WHERE media.owner_id = m.owner_id AND media.message_id = m.id
            AND media.status = 'waiting')
        WHERE owner_id = %s AND id = %s RETURNING awaits_media
        """,
        [message["owner_id"], message["id"]],
    )
    row = await changed.fetchone()
    workflow_id = await _note(platform, message, step="accept", sids=[])
    if row is not None and row["awaits_media"]:
        # Nothing of it was fetched while it was held, or it is to be tried again; its turn follows from that.
        await platform.execute(_FETCH_AGAIN, {**message, "workflow_id": f"{workflow_id}:media"})
        return
    # A turn that kept the message for people has its id: another turn has another.
    known = await platform.execute(
        "SELECT FROM turns WHERE owner_id = %s AND id = %s", [message["owner_id"], message["id"]]
    )
    turn_id = message["id"] if await known.fetchone() is None else new_id()
    await platform.execute(
        """
        SELECT enqueue_turn(
            %(owner_id)s::uuid, %(conversation_id)s::uuid, %(turn_id)s::uuid, %(received_at)s::timestamptz,
            %(workflow_id)s::text)
        """,
        {**message, "workflow_id": workflow_id, "turn_id": turn_id},
    )


# What is in the storage stays there.
_WAIT_AGAIN = f"""
UPDATE media SET status = 'waiting', reason = NULL
WHERE owner_id = %(owner_id)s AND message_id = %(id)s
  AND reason IN ({_CURABLE})
"""  # noqa: S608 - the reasons are constants
_FETCH_AGAIN = """
SELECT enqueue_media(m.owner_id, m.conversation_id, m.id, m.received_at, has_voice(m.owner_id, m.id, m.kind),
                     %(workflow_id)s::text)
FROM messages m WHERE m.owner_id = %(owner_id)s AND m.id = %(id)s
"""


async def _note(platform: Connection, message: Row, *, step: str, sids: list[str]) -> str:
    """Record the retry, with the MessageSids that failed, and give its workflow's id.

    Retries are counted by their events: finished workflows are deleted after some days, events are not.
    """
    cursor = await platform.execute(
        """
        SELECT count(*) AS before FROM events
        WHERE owner_id = %(owner_id)s AND correlation_id = %(correlation_id)s AND message_id = %(id)s
          AND what = 'retried'
        """,
        message,
    )
    row = await cursor.fetchone()
    number = (row["before"] if row else 0) + 1
    await platform.execute(
        """
        INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id, data)
        VALUES (%(owner_id)s, %(step)s, 'retried', %(conversation_id)s, %(id)s, %(correlation_id)s, %(data)s)
        """,
        {**message, "step": step, "data": Jsonb({"retry": number, "failed_sids": sids})},
    )
    return f"{message['id']}:r{number}"
