"""Messages of a conversation: what waits for an answer, what was said before, and the reply with its delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.conversations.holding import HeldFor
from recado.db.scope import Scope
from recado.delivery.content import Content, to_json
from recado.errors import NotFound
from recado.ids import new_id

#: How many messages before the pending ones an assistant is shown.
HISTORY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as the journey's later steps need it.

    `awaits_media` is true while its attachments are fetched and its voice is made text: no turn takes it before.
    `starts` is how often work for it began, first at `begun_at`, and came to no end.
    """

    id: UUID
    direction: str
    author: str
    kind: str
    body: str = field(repr=False)
    status: str
    provider_sid: str | None
    correlation_id: UUID
    received_at: datetime
    transcript: str | None = field(repr=False)
    transcript_language: str | None
    awaits_media: bool
    starts: int = 0
    begun_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One message as it is shown: with what came of it. `held_for` is there for what is held, and only then."""

    id: UUID
    conversation_id: UUID
    direction: str
    author: str
    kind: str
    body: str = field(repr=False)
    status: str
    error_code: int | None
    provider_sid: str | None
    correlation_id: UUID
    reply_to: UUID | None
    received_at: datetime
    content: dict[str, Any] | None = field(repr=False)
    reason: str | None
    held_for: HeldFor | None


_LISTED = (
    "id, conversation_id, direction, author, kind, body, status, error_code, provider_sid, correlation_id, reply_to, "
    "received_at, content, reason, held_for"
)
_COLUMNS = (
    "id, direction, author, kind, body, status, provider_sid, correlation_id, received_at, transcript, "
    "transcript_language, awaits_media, starts, begun_at"
)


async def page(scope: Scope, conversation_id: UUID, *, before: UUID | None, limit: int) -> list[Listed]:
    """The conversation's messages before that id, newest first; one more than `limit` where there are more."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM messages WHERE owner_id = %s AND conversation_id = %s AND id < %s "  # noqa: S608
        "ORDER BY id DESC LIMIT %s",
        [scope.owner_id, conversation_id, before or UUID(int=2**128 - 1), limit + 1],
    )
    return [Listed(**row) for row in await cursor.fetchall()]


async def get(scope: Scope, message_id: UUID) -> Listed:
    """The message. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_LISTED} FROM messages WHERE owner_id = %s AND id = %s",  # noqa: S608 - the columns are a constant
        [scope.owner_id, message_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no message {message_id}")
    return Listed(**row)


async def parameters(scope: Scope, message_id: UUID) -> dict[str, list[str]] | None:
    """All that came with the message, as it came; None for what was sent. Raises NotFound."""
    cursor = await scope.conn.execute(
        "SELECT parameters FROM messages WHERE owner_id = %s AND id = %s", [scope.owner_id, message_id]
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no message {message_id}")
    found: dict[str, list[str]] | None = row["parameters"]
    return found


async def pending(scope: Scope, conversation_id: UUID) -> list[Message]:
    """What the contact has said since the last answer, in the order it came."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE owner_id = %s AND conversation_id = %s AND status = 'received' "  # noqa: S608
        "AND direction = 'inbound' ORDER BY id",
        [scope.owner_id, conversation_id],
    )
    return [Message(**row) for row in await cursor.fetchall()]


async def history(scope: Scope, conversation_id: UUID, *, limit: int = HISTORY) -> list[Message]:
    """What was said and dealt with, oldest first; what still waits, and what never reached anyone, is left out.

    What the contact said while people had the conversation is there: a turn took it, and kept it for them. What came
    over a limit no turn took; it is left out, or a flood would stand in the place of all that was said. So is what
    broke its turn: the next one would break of it too.

    No bound by id: a reply that was stored after the message that now waits had arrived belongs to it all the same, or
    the assistant would answer again what it has just answered.
    """
    cursor = await scope.conn.execute(
        f"SELECT * FROM (SELECT {_COLUMNS} FROM messages WHERE owner_id = %s AND conversation_id = %s "  # noqa: S608
        "AND (status NOT IN ('received', 'failed', 'held', 'unrouted') "
        "OR (status = 'held' AND direction = 'inbound' AND turn_id IS NOT NULL)) "
        "ORDER BY id DESC LIMIT %s) latest ORDER BY id",
        [scope.owner_id, conversation_id, limit],
    )
    return [Message(**row) for row in await cursor.fetchall()]


#: Kinds whose body the contact wrote; a button's or a list's are the owner's words.
WRITTEN: Final = ("text", "image", "video")


async def written(scope: Scope, conversation_id: UUID, *, limit: int = 6) -> list[str]:
    """What the contact wrote last, newest first; not what they passed on, nor what a machine heard them say."""
    cursor = await scope.conn.execute(
        """
        SELECT body FROM (
            SELECT id, kind, body, parameters FROM messages
            WHERE owner_id = %(owner)s AND conversation_id = %(conversation)s AND direction = 'inbound'
              AND held_for IS DISTINCT FROM 'broken'
            ORDER BY id DESC LIMIT 40
        ) latest
        WHERE kind = ANY(%(kinds)s) AND body <> ''
          AND lower(coalesce(parameters #>> '{Forwarded,0}', '')) NOT IN ('true', '1', 'yes')
          AND lower(coalesce(parameters #>> '{FrequentlyForwarded,0}', '')) NOT IN ('true', '1', 'yes')
        ORDER BY id DESC LIMIT %(limit)s
        """,
        {"owner": scope.owner_id, "conversation": conversation_id, "kinds": list(WRITTEN), "limit": limit},
    )
    return [row["body"] for row in await cursor.fetchall()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaiting:
    """A message whose attachments are to be fetched; `waits` is true while its turn waits for that."""

    id: UUID
    conversation_id: UUID
    account_id: UUID
    provider_sid: str | None
    correlation_id: UUID
    waits: bool
    starts: int
    begun_at: datetime | None


_AWAITING = """
SELECT id, conversation_id, account_id, provider_sid, correlation_id, awaits_media AS waits, starts, begun_at
FROM messages WHERE owner_id = %s AND id = %s
"""
_AWAITING_LOCKED = f"{_AWAITING} FOR UPDATE"


async def awaiting(scope: Scope, message_id: UUID, *, lock: bool = False) -> Awaiting:
    """The message as the fetching of its attachments needs it; with `lock`, nobody else settles them before the commit.

    Raises NotFound.
    """
    cursor = await scope.conn.execute(
        _AWAITING_LOCKED if lock else _AWAITING,
        [scope.owner_id, message_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no message {message_id}")
    return Awaiting(**row)


async def release(
    scope: Scope, message_id: UUID, *, transcript: str | None, language: str | None, again: bool = False
) -> bool:
    """Keep what a voice note says, and let a turn have the message; whether one is to have it.

    One is where the message had still been waiting for that. With `again` the words of one that was given up have come
    after all: it waits for an answer once more, if it was answered without them. The turn's workflow is enqueued with
    it: under the message's id, or a new one when that was used before.
    """
    cursor = await scope.conn.execute(
        """
        WITH before AS (
            SELECT id, awaits_media OR (%(again)s AND status IN ('received', 'answered')) AS due
            FROM messages WHERE owner_id = %(owner)s AND id = %(id)s FOR UPDATE
        ), message AS (
            UPDATE messages m SET awaits_media = false, starts = 0, begun_at = NULL,
                   transcript = coalesce(%(transcript)s, m.transcript),
                   transcript_language = coalesce(%(language)s, m.transcript_language),
                   status = CASE WHEN due AND m.status = 'answered' THEN 'received' ELSE m.status END,
                   turn_id = CASE WHEN due THEN NULL ELSE m.turn_id END
            FROM before WHERE m.owner_id = %(owner)s AND m.id = before.id
            RETURNING m.owner_id, m.id, m.conversation_id, m.received_at, due
        )
        SELECT enqueue_turn(
            owner_id, conversation_id,
            CASE WHEN EXISTS (SELECT FROM turns t WHERE t.owner_id = message.owner_id AND t.id = message.id)
                 THEN %(fresh)s::uuid ELSE id END,
            received_at, CASE WHEN has_work(message.id::text) THEN %(fresh)s::text ELSE id::text END)
        FROM message WHERE due
        """,
        {
            "owner": scope.owner_id,
            "id": message_id,
            "again": again,
            "transcript": transcript,
            "language": language,
            "fresh": new_id(),
        },
    )
    return await cursor.fetchone() is not None


async def mark_taken(scope: Scope, ids: Sequence[UUID], *, held_for: HeldFor | None, turn_id: UUID | None) -> None:
    """The messages are taken care of: `answered` by a turn, or `held` for that."""
    await scope.conn.execute(
        "UPDATE messages SET status = %s, held_for = %s, turn_id = %s, starts = 0, begun_at = NULL "
        "WHERE owner_id = %s AND id = ANY(%s)",
        ["answered" if held_for is None else "held", held_for, turn_id, scope.owner_id, list(ids)],
    )


async def count_starts(scope: Scope, starts: Mapping[UUID, int], *, now: datetime) -> None:
    """Work for these messages has begun so often without an end; none of it, once it is 0 again."""
    await scope.conn.execute(
        """
        UPDATE messages SET (starts, begun_at) = (
            SELECT given, CASE WHEN given > 0 THEN coalesce(begun_at, %(now)s) END
            FROM (SELECT (%(starts)s::smallint[])[array_position(%(ids)s::uuid[], id)] AS given) one)
        WHERE owner_id = %(owner)s AND id = ANY(%(ids)s)
        """,
        {"owner": scope.owner_id, "ids": list(starts), "starts": list(starts.values()), "now": now},
    )


async def take_back_starts(scope: Scope, begun: Mapping[UUID, int]) -> None:
    """Work that has begun so often with these messages says nothing of them: count it down, if nobody counted since."""
    await scope.conn.execute(
        """
        UPDATE messages SET starts = starts - 1, begun_at = CASE WHEN starts > 1 THEN begun_at END
        WHERE owner_id = %(owner)s AND id = ANY(%(ids)s) AND starts > 0
          AND starts = (%(starts)s::smallint[])[array_position(%(ids)s::uuid[], id)]
        """,
        {"owner": scope.owner_id, "ids": list(begun), "starts": list(begun.values())},
    )


async def deaths_since(scope: Scope, moment: datetime) -> int:
    """How many worker processes have died since, whoever's work they had in hand."""
    cursor = await scope.conn.execute("SELECT executor_deaths_since(%s) AS deaths", [moment])
    row = await cursor.fetchone()
    return int(row["deaths"]) if row is not None else 0


async def deaths_lately(scope: Scope, seconds: float) -> int:
    """How many worker processes have died in so many seconds, by the database's clock."""
    cursor = await scope.conn.execute(
        "SELECT executor_deaths_since(clock_timestamp() - make_interval(secs => %s)) AS deaths", [seconds]
    )
    row = await cursor.fetchone()
    return int(row["deaths"]) if row is not None else 0


async def enqueue_outbound(
    scope: Scope,
    *,
    conversation_id: UUID,
    author: str,
    body: str,
    correlation_id: UUID,
    reply_to: UUID | None = None,
    turn_id: UUID | None = None,
    now: datetime,
    content: Content | None = None,
    kind: str = "text",
) -> UUID:
    """Store an outbound message as `queued` together with its delivery's workflow; answers its id.

    With `content`, which was checked before, it is more than a text, and `body` is what the contact reads with it.
    The message's id is the workflow's, so however often this transaction is tried it makes one delivery.
    """
    message_id = new_id()
    await scope.conn.execute(
        """
        WITH message AS (
            INSERT INTO messages (owner_id, id, conversation_id, account_id, direction, author, kind, body, content,
                                  status, correlation_id, reply_to, turn_id, received_at)
            SELECT v.owner_id, %(id)s, v.id, n.account_id, 'outbound', %(author)s, %(kind)s, %(body)s,
                   %(content)s, 'queued', %(correlation_id)s, %(reply_to)s, %(turn_id)s, %(now)s
            FROM conversations v JOIN numbers n ON n.owner_id = v.owner_id AND n.id = v.number_id
            WHERE v.owner_id = %(owner_id)s AND v.id = %(conversation_id)s
            RETURNING id, owner_id, conversation_id
        )
        SELECT enqueue_delivery(owner_id, conversation_id, id, id::text)
        FROM message
        """,
        {
            "owner_id": scope.owner_id,
            "id": message_id,
            "conversation_id": conversation_id,
            "author": author,
            "kind": kind,
            "body": body,
            "content": None if content is None else Jsonb(to_json(content)),
            "correlation_id": correlation_id,
            "reply_to": reply_to,
            "turn_id": turn_id,
            "now": now,
        },
    )
    return message_id
