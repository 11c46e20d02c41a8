"""deliver: `send_whatsapp_message`, one outbound message to its contact, in parts, each exactly once.

Every attempt is a row before it is a call. What a crash or a broken connection leaves open is looked up in Twilio's
list of messages before anything is posted again: Twilio has no idempotency key, the list is the only witness.
The workflow keeps no state of its own: each pass reads the rows and does the one next thing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from recado.channels.port import ErrorClass, Sender, SendError, Sent
from recado.clock import Clock
from recado.conversations import consent, contacts, conversations, events, parts
from recado.conversations.conversations import Conversation
from recado.conversations.parts import Attempt, Part
from recado.db.pool import Pool, persistently
from recado.db.scope import Scope, scoped
from recado.delivery.retry import POLICY, Action, RetryPolicy, decide
from recado.delivery.split import split
from recado.delivery.status import FAILURES, LEFT

log = structlog.get_logger(__name__)

WINDOW = timedelta(hours=24)
#: Where the webhook's path is, for the status callbacks.
OUTBOUND_PATH = "/channels/twilio/v1/webhooks/outbound"
#: Outbound order is not guaranteed by Twilio: a part waits for `sent` of the one before it, but not for ever.
PREDECESSOR_S = 5.0
PREDECESSOR_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverDesk:
    """What a delivery works with.

    A message that Twilio's list does not show `settle_s` after an attempt ended without an outcome (or `crash_settle_s`
    after one began whose end nobody saw) was not taken: longer than a call may last on our side and on Twilio's.
    """

    pool: Pool
    clock: Clock
    split_chars: int
    public_url: str | None
    sender_of: Callable[[UUID, UUID], Awaitable[Sender]]
    settle_s: float = 5.0
    crash_settle_s: float = 20.0
    reconcile_poll_s: float = 1.0
    predecessor_s: float = PREDECESSOR_S
    policy: RetryPolicy = POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A part with all that sending it takes."""

    message_id: UUID
    correlation_id: UUID
    queued_at: datetime
    conversation: Conversation = field(repr=False)
    part: Part
    is_last: bool
    attempt: Attempt
    reconcile: bool


@dataclass(frozen=True, slots=True)
class _Wait:
    """Nothing can be done before the part that was sent earlier has left Twilio."""

    until: datetime


async def send_whatsapp_message(desk: DeliverDesk, owner_id: UUID, message_id: UUID) -> None:
    """Send what is not sent yet of the message; idempotent, and safe against a second executor doing the same."""
    while True:
        job = await persistently(lambda: _next(desk, owner_id, message_id))
        if job is None:
            return
        if isinstance(job, _Wait):
            await asyncio.sleep(PREDECESSOR_POLL_S)
        elif job.reconcile:
            await _reconcile(desk, owner_id, job)
        elif await _post(desk, owner_id, job) and job.is_last:
            return


async def _next(desk: DeliverDesk, owner_id: UUID, message_id: UUID) -> _Job | _Wait | None:
    """The one next thing to do for the message; None when there is nothing left to do. Begins the attempt."""
    now = desk.clock.now()
    async with scoped(desk.pool, owner_id) as scope:
        message = await (
            await scope.conn.execute(
                f"""
                SELECT m.conversation_id, m.body, m.status, m.correlation_id, m.received_at, {consent.SHARE}
                FROM messages m
                JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
                JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
                WHERE m.owner_id = %s AND m.id = %s AND m.direction = 'outbound'
                """,  # noqa: S608 - a constant
                [owner_id, message_id],
            )
        ).fetchone()
        if message is None or message["status"] in ("held", "failed"):
            return None
        conversation = await conversations.get(scope, message["conversation_id"])
        planned = await parts.plan(scope, message_id, split(message["body"], desk.split_chars))
        waiting = [part for part in planned if part.status == parts.WAITING]
        if not waiting:
            await parts.close_attempts(scope, message_id)
            return None
        part = waiting[0]
        reason = _forbidden(conversation, message_id, now)
        # What Twilio may have taken already is looked up first: a message that it took did not fail.
        if reason is not None and await parts.open_attempt(scope, message_id, part.part) is None:
            await _refuse(scope, message_id, conversation, message["correlation_id"], reason)
            return None
        before = planned[part.part - 2] if part.part > 1 else None
        if before is not None and before.status in FAILURES:
            await parts.stop(scope, message_id, error_code=before.error_code)
            return None
        wait = await _predecessor(scope, conversation.id, message_id, part.part)
        if wait is not None and wait + timedelta(seconds=desk.predecessor_s) > now:
            return _Wait(wait + timedelta(seconds=desk.predecessor_s))
        begun = await parts.begin_attempt(scope, message_id, part.part) if reason is None else None
        attempt = begun or await parts.open_attempt(scope, message_id, part.part)
        if attempt is None:
            return _Wait(now)  # its status moved this moment: look again
        return _Job(
            message_id=message_id,
            correlation_id=message["correlation_id"],
            queued_at=message["received_at"],
            conversation=conversation,
            part=part,
            is_last=part.part == planned[-1].part,
            attempt=attempt,
            reconcile=begun is None,
        )


def _forbidden(conversation: Conversation, message_id: UUID, now: datetime) -> ErrorClass | None:
    if conversation.suppressed and conversation.confirmation_id != message_id:
        return ErrorClass.RECIPIENT
    if conversation.last_inbound_at < now - WINDOW:
        return ErrorClass.WINDOW
    return None


async def _refuse(
    scope: Scope, message_id: UUID, conversation: Conversation, correlation_id: UUID, reason: ErrorClass
) -> None:
    """Nothing goes out: an opt-out is final, a closed window keeps the message for a template or a new message."""
    if reason is ErrorClass.RECIPIENT:
        await parts.stop(scope, message_id, error_code=21610)
    else:
        await hold(scope, message_id, error_code=63016)
    await events.record(
        scope,
        step="deliver",
        what="opted_out" if reason is ErrorClass.RECIPIENT else "window_closed",
        conversation_id=conversation.id,
        message_id=message_id,
        correlation_id=correlation_id,
    )


async def hold(scope: Scope, message_id: UUID, *, error_code: int | None) -> None:
    """Keep the message unsent until someone has put right what stands in its way."""
    await scope.conn.execute(
        "UPDATE messages SET status = 'held', error_code = %s WHERE owner_id = %s AND id = %s",
        [error_code, scope.owner_id, message_id],
    )


async def _predecessor(scope: Scope, conversation_id: UUID, message_id: UUID, part: int) -> datetime | None:
    """When Twilio took the part that goes before this one, if it has not left Twilio yet."""
    row = await (
        await scope.conn.execute(
            """
            SELECT p.taken_at, p.status FROM messages m
            JOIN message_parts p ON p.owner_id = m.owner_id AND p.message_id = m.id
            WHERE m.owner_id = %s AND m.conversation_id = %s AND m.direction = 'outbound'
              AND (m.id, p.part) < (%s, %s) AND p.taken_at IS NOT NULL
            ORDER BY m.id DESC, p.part DESC LIMIT 1
            """,
            [scope.owner_id, conversation_id, message_id, part],
        )
    ).fetchone()
    if row is None or row["status"] in LEFT or row["status"] in FAILURES:
        return None
    taken_at: datetime = row["taken_at"]
    return taken_at


async def _post(desk: DeliverDesk, owner_id: UUID, job: _Job) -> bool:
    """Hand the part to Twilio once; whether it was taken. What went wrong is recorded, with what follows from it."""
    conversation = job.conversation
    try:
        sender = await desk.sender_of(owner_id, conversation.account_id)
        sent = await sender.send(
            to=conversation.contact_address,
            from_=conversation.number_address,
            messaging_service_sid=conversation.messaging_service_sid,
            body=job.part.body,
            status_callback=_callback_url(desk, job),
        )
    except SendError as error:
        await _failed(desk, owner_id, job, error)
        return False
    await persistently(lambda: _taken(desk, owner_id, job, sent))
    return True


def _callback_url(desk: DeliverDesk, job: _Job) -> str | None:
    public_url = job.conversation.public_url or desk.public_url
    if public_url is None:
        return None
    return f"{public_url}{OUTBOUND_PATH}?message={job.message_id}&part={job.part.part}"


async def _taken(desk: DeliverDesk, owner_id: UUID, job: _Job, sent: Sent) -> None:
    async with scoped(desk.pool, owner_id) as scope, scope.conn.pipeline():
        await parts.end_attempt(scope, job.attempt.id, "taken")
        await parts.move(
            scope, message_id=job.message_id, part=job.part.part, sid=sent.sid, status=sent.status, error_code=None
        )
    log.info(
        "sent",
        step="deliver",
        owner_id=owner_id,
        message_id=job.message_id,
        correlation_id=job.correlation_id,
        part=job.part.part,
        tries=job.attempt.tries,
        sid=sent.sid,
    )


async def _failed(desk: DeliverDesk, owner_id: UUID, job: _Job, error: SendError) -> None:
    """Record how the attempt ended and do what its class says: again, look first, hold, or give up."""
    age_s = (desk.clock.now() - job.queued_at).total_seconds()
    decision = decide(
        error.error_class,
        attempt=job.attempt.tries,
        age_s=age_s,
        retry_after_s=error.retry_after_s,
        random=random.random,
        policy=desk.policy,
    )
    # An unknown outcome is looked up in any case: a message that Twilio took did not fail.
    unknown = error.error_class is ErrorClass.UNKNOWN

    async def note() -> None:
        async with scoped(desk.pool, owner_id) as scope:
            await parts.end_attempt(
                scope,
                job.attempt.id,
                "unknown" if unknown else "refused",
                error_class=error.error_class,
                error_code=error.code,
            )
            if decision.action is Action.FAIL and not unknown:
                await parts.stop(scope, job.message_id, error_code=error.code)
            elif decision.action is Action.HOLD:
                await hold(scope, job.message_id, error_code=error.code)
            if error.code in contacts.OPT_OUT_CODES:
                await contacts.suppress(scope, job.message_id, reason=f"twilio {error.code}")
            await events.record(
                scope,
                step="deliver",
                what=error.error_class.value,
                conversation_id=job.conversation.id,
                message_id=job.message_id,
                correlation_id=job.correlation_id,
                data={"part": job.part.part, "code": error.code, "text": error.owner_text, "then": decision.action},
            )

    await persistently(note)
    log.warning(
        "send_failed",
        step="deliver",
        owner_id=owner_id,
        message_id=job.message_id,
        correlation_id=job.correlation_id,
        error_class=error.error_class,
        code=error.code,
        then=decision.action,
        tries=job.attempt.tries,
    )
    if decision.action in (Action.RETRY, Action.RECONCILE) and decision.delay_s:
        await asyncio.sleep(decision.delay_s)


async def _reconcile(desk: DeliverDesk, owner_id: UUID, job: _Job) -> None:
    """Find out what became of an attempt whose outcome nobody saw; post nothing."""
    started_at = job.attempt.started_at
    try:
        sender = await desk.sender_of(owner_id, job.conversation.account_id)
        looked_at = await persistently(lambda: _database_time(desk))
        listed = await sender.find(
            to=job.conversation.contact_address,
            from_=job.conversation.number_address,
            since=started_at - timedelta(minutes=2),
        )
    except SendError as error:
        log.warning("reconcile_failed", step="deliver", message_id=job.message_id, code=error.code)
        if (desk.clock.now() - job.queued_at) > WINDOW:
            await persistently(lambda: _give_up(desk, owner_id, job))
            return
        await asyncio.sleep(max(error.retry_after_s or 0.0, desk.reconcile_poll_s * 3))
        return
    same = [sent for sent in listed if sent.body.strip() == job.part.body.strip()]
    max_age = timedelta(seconds=desk.policy.max_age_s)

    async def settle() -> bool:
        async with scoped(desk.pool, owner_id) as scope:
            known = await parts.attributed(scope, [sent.sid for sent in same])
            ours = [sent for sent in same if sent.sid not in known]
            if ours:
                await parts.end_attempt(scope, job.attempt.id, "taken")
                await parts.move(
                    scope,
                    message_id=job.message_id,
                    part=job.part.part,
                    sid=ours[-1].sid,
                    status=ours[-1].status,
                    error_code=None,
                )
                await _note_reconciled(scope, job, "taken")
                return True
            if looked_at >= await _settled_at(scope, desk, job.attempt):
                await parts.end_attempt(scope, job.attempt.id, "not_taken")
                await _note_reconciled(scope, job, "not_taken")
                if job.attempt.tries >= desk.policy.max_attempts or looked_at - job.queued_at > max_age:
                    await parts.stop(scope, job.message_id, error_code=None)
                return True
            return False

    if not await persistently(settle):
        await asyncio.sleep(desk.reconcile_poll_s)


async def _database_time(desk: DeliverDesk) -> datetime:
    async with desk.pool.connection() as conn:
        row = await (await conn.execute("SELECT clock_timestamp() AS now")).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM
    now: datetime = row["now"]
    return now


async def _settled_at(scope: Scope, desk: DeliverDesk, attempt: Attempt) -> datetime:
    """From when on Twilio's list would show the message if it had been taken."""
    row = await (
        await scope.conn.execute(
            "SELECT finished_at FROM delivery_attempts WHERE owner_id = %s AND id = %s", [scope.owner_id, attempt.id]
        )
    ).fetchone()
    if row is not None and row["finished_at"] is not None:
        ended_at: datetime = row["finished_at"]
        return ended_at + timedelta(seconds=desk.settle_s)
    return attempt.started_at + timedelta(seconds=desk.crash_settle_s)


async def _note_reconciled(scope: Scope, job: _Job, outcome: str) -> None:
    await events.record(
        scope,
        step="deliver",
        what=f"reconciled_{outcome}",
        conversation_id=job.conversation.id,
        message_id=job.message_id,
        correlation_id=job.correlation_id,
        data={"part": job.part.part},
    )


async def _give_up(desk: DeliverDesk, owner_id: UUID, job: _Job) -> None:
    async with scoped(desk.pool, owner_id) as scope:
        await parts.stop(scope, job.message_id, error_code=None)
