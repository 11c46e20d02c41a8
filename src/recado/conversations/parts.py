"""The parts in which an outbound message is sent, their attempts, and how their status becomes the message's.

A part is `waiting` until Twilio took it; from then on its status is Twilio's and only moves forward.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.channels.port import ErrorClass
from recado.conversations.holding import HeldFor
from recado.db.scope import Scope
from recado.delivery.status import FAILURES, RANK
from recado.ids import new_id

WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of an outbound message, as it stands.

    With `content` it is posted as that: its `kind`, and an attachment's `media_id`, or a `content_sid` with its
    `variables`, which buttons and lists get before they are posted. `body` is then what the contact reads with it.
    """

    part: int
    body: str = field(repr=False)
    content: Mapping[str, Any] | None = field(repr=False)
    status: str
    provider_sid: str | None
    error_code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to hand a part to Twilio; `started` without an end means that its outcome is not known.

    `tries` counts the attempts at this part, this one included. `address` is where it went, None for one that began
    before that was kept.
    """

    id: UUID
    outcome: str
    address: str | None = field(repr=False)
    started_at: datetime
    tries: int


async def plan(
    scope: Scope, message_id: UUID, bodies: Sequence[str], *, content: Mapping[str, Any] | None = None
) -> list[Part]:
    """The parts of the message in order; those planned before stay as they are, whatever the settings say now.

    `content` goes with the last body.
    """
    cursor = await scope.conn.execute(
        f"""
        WITH planned AS (
            INSERT INTO message_parts (owner_id, message_id, part, body, content)
            SELECT %(owner_id)s, %(message_id)s, ordinality, body, content::jsonb
            FROM unnest(%(bodies)s::text[], %(contents)s::text[]) WITH ORDINALITY AS given(body, content, ordinality)
            WHERE NOT EXISTS (SELECT FROM message_parts WHERE owner_id = %(owner_id)s AND message_id = %(message_id)s)
            ON CONFLICT DO NOTHING
            RETURNING {_COLUMNS}
        )
        SELECT * FROM planned
        UNION ALL SELECT {_COLUMNS} FROM message_parts
        WHERE owner_id = %(owner_id)s AND message_id = %(message_id)s
        ORDER BY part
        """,  # noqa: S608 - the columns are a constant
        {
            "owner_id": scope.owner_id,
            "message_id": message_id,
            "bodies": list(bodies),
            "contents": [*[None] * (len(bodies) - 1), None if content is None else json.dumps(content)],
        },
    )
    planned = [Part(**row) for row in await cursor.fetchall()]
    # None: another executor planned it while our statement ran, a new snapshot sees it.
    return planned or await of_message(scope, message_id)


_COLUMNS = "part, body, content, status, provider_sid, error_code"


async def of_message(scope: Scope, message_id: UUID) -> list[Part]:
    """The parts of the message in order."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM message_parts WHERE owner_id = %s AND message_id = %s ORDER BY part",  # noqa: S608
        [scope.owner_id, message_id],
    )
    return [Part(**row) for row in await cursor.fetchall()]


async def become(
    scope: Scope, message_id: UUID, part: int, bodies: Sequence[str], *, content: Mapping[str, Any] | None = None
) -> None:
    """The message's last part, still waiting, is posted as these bodies instead, or as one with this content.

    Nothing changes when an attempt at it is under way: what is being posted must stay what is asked after.
    """
    first, *more = bodies
    changed = await scope.conn.execute(
        """
        UPDATE message_parts p SET body = %(body)s, content = %(content)s
        WHERE p.owner_id = %(owner_id)s AND p.message_id = %(message_id)s AND p.part = %(part)s
          AND p.status = 'waiting'
          AND NOT EXISTS (SELECT FROM delivery_attempts a
                          WHERE a.owner_id = p.owner_id AND a.message_id = p.message_id AND a.part = p.part
                            AND a.outcome IN ('started', 'unknown'))
        """,
        {
            "owner_id": scope.owner_id,
            "message_id": message_id,
            "part": part,
            "body": first,
            "content": None if content is None else Jsonb(content),
        },
    )
    if changed.rowcount:
        await scope.conn.execute(
            "INSERT INTO message_parts (owner_id, message_id, part, body) "
            "SELECT %s, %s, %s + ordinality, body FROM unnest(%s::text[]) WITH ORDINALITY AS given(body, ordinality) "
            "ON CONFLICT DO NOTHING",
            [scope.owner_id, message_id, part, more],
        )


#: What a message's columns are, in SQL, once it is to be sent again whatever it failed or was held for.
QUEUED_AGAIN = "status = 'queued', held_for = NULL, look_again_at = NULL, error_code = NULL, reason = NULL"


async def reopen(scope: Scope, message_id: UUID) -> None:
    """What failed of the message waits again; the MessageSids it had are kept as those that came to nothing."""
    await scope.conn.execute(
        """
        UPDATE message_parts
        SET status = 'waiting', retired_sids = array_remove(array_append(retired_sids, provider_sid), NULL),
            provider_sid = NULL, error_code = NULL, taken_at = NULL, updated_at = now()
        WHERE owner_id = %s AND message_id = %s AND status = ANY(%s)
        """,
        [scope.owner_id, message_id, sorted(FAILURES)],
    )
    await scope.conn.execute(
        f"UPDATE messages SET {QUEUED_AGAIN} WHERE owner_id = %s AND id = %s",  # noqa: S608 - a constant
        [scope.owner_id, message_id],
    )


async def move_status(
    scope: Scope, *, message_id: UUID, part: int, sid: str, status: str, error_code: int | None
) -> bool:
    """Move a part's status forward, and its message's with it; whether anything changed, which no pipeline can say."""
    parameters = {
        "owner_id": scope.owner_id,
        "message_id": message_id,
        "part": part,
        "sid": sid,
        "status": status,
        "error_code": error_code,
    }
    moved = await scope.conn.execute(_MOVE, parameters)
    await scope.conn.execute(_SETTLE, parameters)
    return moved.rowcount > 0


def moving_status(message: str, **values: str) -> tuple[str, str]:
    """The statements of `move_status` with these SQL expressions for its values; `message` names the part's message.

    The first affects a row, an event's, when anything changed; the second must follow it in the same transaction.
    """
    rank = f"array_position({_RANKS}, %s)"
    newer = f"{rank % values['status']} > {rank % 'p.status'}"
    move = f"""
        WITH moved AS (
            UPDATE message_parts p
            SET status = CASE WHEN {newer} THEN {values["status"]}
                              -- Twilio has it, whatever its word for that: it must not be posted again.
                              WHEN p.status = 'waiting' THEN 'accepted' ELSE p.status END,
                error_code = CASE WHEN {newer} THEN {values["error_code"]} ELSE p.error_code END,
                provider_sid = {values["sid"]},
                taken_at = coalesce(p.taken_at, now()),
                updated_at = now()
            WHERE p.owner_id = {values["owner_id"]} AND p.message_id = {message} AND {values["which"]}
              AND coalesce(p.provider_sid, {values["sid"]}) = {values["sid"]}
              AND NOT {values["sid"]} = ANY(p.retired_sids)
              AND (p.provider_sid IS NULL OR {newer})
            RETURNING p.message_id, p.part, p.status, p.error_code
        )
        INSERT INTO events (owner_id, step, what, conversation_id, message_id, correlation_id, data)
        SELECT m.owner_id, 'confirm', moved.status, m.conversation_id, m.id, m.correlation_id,
               jsonb_strip_nulls(jsonb_build_object('part', moved.part, 'error_code', moved.error_code))
        FROM moved JOIN messages m ON m.owner_id = {values["owner_id"]} AND m.id = moved.message_id
    """  # noqa: S608 - ranks and expressions are constants
    settle = f"""
        UPDATE messages m
        SET status = settled.status, error_code = settled.error_code, held_for = NULL, look_again_at = NULL
        FROM (
            SELECT CASE WHEN bool_or(p.status IN ({_FAILED})) THEN 'failed'
                        WHEN bool_or(p.status = 'waiting') THEN 'queued'
                        ELSE (array_agg(p.status ORDER BY {rank % "p.status"}))[1] END AS status,
                   max(p.error_code) AS error_code
            FROM message_parts p
            WHERE p.owner_id = {values["owner_id"]} AND p.message_id = {message}
        ) settled
        WHERE m.owner_id = {values["owner_id"]} AND m.id = {message} AND settled.status IS NOT NULL
          AND (m.status, m.error_code) IS DISTINCT FROM (settled.status, settled.error_code)
          -- The rest of it is held: that a part before it moved on changes nothing of that.
          AND NOT (m.status = 'held' AND settled.status = 'queued')
    """  # noqa: S608 - ranks and expressions are constants
    return move, settle


# A word that is not on the list has no position: it is never newer, and what it is compared with never older.
_RANKS = "ARRAY['waiting', {}]::text[]".format(
    ", ".join(f"'{status}'" for status in sorted(RANK, key=lambda status: RANK[status]))
)
_FAILED = ", ".join(f"'{status}'" for status in sorted(FAILURES))
_MOVE, _SETTLE = moving_status(
    "%(message_id)s",
    owner_id="%(owner_id)s",
    which="p.part = %(part)s",
    sid="%(sid)s::text",
    status="%(status)s::text",
    error_code="%(error_code)s::int",
)


async def hold(
    scope: Scope,
    message_id: UUID,
    *,
    held_for: HeldFor,
    error_code: int | None,
    reason: str | None = None,
    look_again_at: datetime | None = None,
) -> None:
    """Keep the message unsent while that stands in its way; `reason` is a word that says it more closely.

    At `look_again_at` it is put back to work (`ops/again`); where that is None it waits for people.
    """
    await scope.conn.execute(
        "UPDATE messages SET status = 'held', held_for = %s, error_code = %s, reason = %s, look_again_at = %s "
        "WHERE owner_id = %s AND id = %s",
        [held_for, error_code, reason, look_again_at, scope.owner_id, message_id],
    )


async def held_before(scope: Scope, conversation_id: UUID, message_id: UUID) -> datetime | None:
    """When the oldest of what goes before the message in its conversation, and is held for a while, is tried again."""
    cursor = await scope.conn.execute(
        "SELECT look_again_at FROM messages WHERE owner_id = %s AND conversation_id = %s AND id < %s "
        "AND look_again_at IS NOT NULL AND status = 'held' AND direction = 'outbound' ORDER BY id LIMIT 1",
        [scope.owner_id, conversation_id, message_id],
    )
    row = await cursor.fetchone()
    return row["look_again_at"] if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What Twilio said when it failed a part that it had taken, after `tries` attempts."""

    part: int
    error_code: int | None
    tries: int


async def refusal(scope: Scope, message_id: UUID) -> Refusal | None:
    """The first part that Twilio took and failed later, if there is one: not what was given up, or never sent."""
    cursor = await scope.conn.execute(
        """
        SELECT p.part, p.error_code, (
            SELECT count(*) FROM delivery_attempts a
            WHERE a.owner_id = p.owner_id AND a.message_id = p.message_id AND a.part = p.part)::int AS tries
        FROM message_parts p
        WHERE p.owner_id = %s AND p.message_id = %s AND p.status = ANY(%s) AND p.provider_sid IS NOT NULL
        ORDER BY p.part LIMIT 1
        """,
        [scope.owner_id, message_id, sorted(FAILURES)],
    )
    row = await cursor.fetchone()
    return Refusal(**row) if row else None


async def stop(scope: Scope, message_id: UUID, *, error_code: int | None, reason: str | None = None) -> None:
    """What is still waiting of the message will not be sent: its first waiting part failed, the others are canceled."""
    await scope.conn.execute(
        """
        UPDATE message_parts SET
            status = CASE WHEN part = (SELECT min(part) FROM message_parts
                                       WHERE owner_id = %(owner_id)s AND message_id = %(message_id)s
                                         AND status = 'waiting') THEN 'failed' ELSE 'canceled' END,
            error_code = %(error_code)s, updated_at = now()
        WHERE owner_id = %(owner_id)s AND message_id = %(message_id)s AND status = 'waiting'
        """,
        {"owner_id": scope.owner_id, "message_id": message_id, "error_code": error_code},
    )
    await scope.conn.execute(
        "UPDATE messages SET status = 'failed', held_for = NULL, look_again_at = NULL, error_code = %s, reason = %s "
        "WHERE owner_id = %s AND id = %s",
        [error_code, reason, scope.owner_id, message_id],
    )


async def begin_attempt(scope: Scope, message_id: UUID, part: int, *, address: str) -> Attempt | None:
    """Record a new attempt before the call, or None when one with unknown outcome, or a result, stands in its way.

    Times of attempts are the database's: whoever looks later at how long ago it was may be another machine. A unique
    index allows one open attempt at a part, so of two executors that both think the message theirs only one
    begins.
    """
    row = await (
        await scope.conn.execute(
            """
            WITH mine AS (
                SELECT part FROM message_parts
                WHERE owner_id = %(owner_id)s AND message_id = %(message_id)s AND part = %(part)s
                  AND status = 'waiting'
                FOR UPDATE
            ), before AS (
                SELECT count(*)::int AS tries FROM delivery_attempts
                WHERE owner_id = %(owner_id)s AND message_id = %(message_id)s AND part = %(part)s
            ), begun AS (
                INSERT INTO delivery_attempts (owner_id, id, message_id, part, address, started_at)
                SELECT %(owner_id)s, %(id)s, %(message_id)s, mine.part, %(address)s, clock_timestamp() FROM mine
                ON CONFLICT (owner_id, message_id, part) WHERE outcome IN ('started', 'unknown') DO NOTHING
                RETURNING id, outcome, address, started_at
            )
            SELECT begun.*, before.tries + 1 AS tries FROM begun, before
            """,
            {
                "owner_id": scope.owner_id,
                "id": new_id(),
                "message_id": message_id,
                "part": part,
                "address": address,
            },
        )
    ).fetchone()
    return Attempt(**row) if row else None


async def open_attempt(scope: Scope, message_id: UUID, part: int) -> Attempt | None:
    """The attempt at this part whose outcome is not known, if there is one."""
    row = await (
        await scope.conn.execute(
            """
            SELECT id, outcome, address, started_at, (count(*) OVER ())::int AS tries FROM delivery_attempts
            WHERE owner_id = %s AND message_id = %s AND part = %s
            ORDER BY outcome NOT IN ('started', 'unknown'), id DESC LIMIT 1
            """,
            [scope.owner_id, message_id, part],
        )
    ).fetchone()
    return Attempt(**row) if row and row["outcome"] in ("started", "unknown") else None


async def end_attempt(
    scope: Scope,
    attempt_id: UUID,
    outcome: str,
    *,
    error_class: ErrorClass | None = None,
    error_code: int | None = None,
) -> None:
    """Record how an attempt ended: `taken`, `refused`, `unknown` or, after reconciling, `not_taken`."""
    await scope.conn.execute(
        "UPDATE delivery_attempts SET outcome = %s, error_class = %s, error_code = %s, finished_at = clock_timestamp() "
        "WHERE owner_id = %s AND id = %s",
        [outcome, error_class, error_code, scope.owner_id, attempt_id],
    )


async def close_attempts(scope: Scope, message_id: UUID) -> None:
    """A part that Twilio has was taken, whoever told us: by its callback, when the attempt's own end was not seen."""
    await scope.conn.execute(
        """
        UPDATE delivery_attempts a SET outcome = 'taken', finished_at = coalesce(a.finished_at, now())
        FROM message_parts p
        WHERE a.owner_id = %(owner_id)s AND a.message_id = %(message_id)s AND a.outcome IN ('started', 'unknown')
          AND p.owner_id = a.owner_id AND p.message_id = a.message_id AND p.part = a.part
          AND p.provider_sid IS NOT NULL
        """,
        {"owner_id": scope.owner_id, "message_id": message_id},
    )


async def attributed(scope: Scope, sids: list[str]) -> set[str]:
    """Which of these MessageSids belong to a part of ours, or belonged to one that was sent again."""
    cursor = await scope.conn.execute(
        """
        SELECT provider_sid AS sid FROM message_parts WHERE owner_id = %(owner_id)s AND provider_sid = ANY(%(sids)s)
        UNION ALL
        SELECT unnest(retired_sids) FROM message_parts
        WHERE owner_id = %(owner_id)s AND retired_sids <> '{}' AND retired_sids && %(sids)s
        """,
        {"owner_id": scope.owner_id, "sids": sids},
    )
    return {row["sid"] for row in await cursor.fetchall()}
