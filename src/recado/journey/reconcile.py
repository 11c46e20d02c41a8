"""Finding out what became of an attempt whose outcome nobody saw: Twilio's list of messages is the only witness."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from recado.channels.port import SendError, Sent
from recado.conversations import events, parts
from recado.conversations.parts import Attempt
from recado.db.borrowing import borrowed
from recado.db.pool import persistently
from recado.db.scope import Scope, scoped
from recado.journey import aftermath
from recado.journey.dispatch import DeliverDesk, Job

log = structlog.get_logger(__name__)

#: How far Twilio's clock and the database's may be apart.
NEAR = timedelta(seconds=30)
#: A list that Twilio does not give is asked for again after half the time that the attempt is old, at most this.
LONGEST_PAUSE_S = 900.0


async def reconcile(desk: DeliverDesk, owner_id: UUID, job: Job) -> None:
    """Find out what became of an attempt whose outcome nobody saw; post nothing."""
    started_at = job.attempt.started_at
    try:
        sender = await desk.sender_of(owner_id, job.conversation.account_id)
        looked_at = await persistently(lambda: _database_time(desk))
        listed = await sender.find(
            to=job.attempt.address or job.conversation.contact_address,
            from_=job.conversation.number_address,
            since=started_at - timedelta(minutes=2),
        )
    except SendError as error:
        log.warning("reconcile_failed", step="deliver", message_id=job.message_id, code=error.code)
        if (desk.clock.now() - job.queued_at) > timedelta(seconds=desk.policy.window_s):
            await persistently(lambda: _give_up(desk, owner_id, job))
            return
        await desk.pause(max(min(error.retry_after_s or 0.0, LONGEST_PAUSE_S), await _until_next_look_s(desk, job)))
        return
    same = _candidates(listed, job)
    max_age = timedelta(seconds=desk.policy.max_age_s)

    async def settle() -> bool:
        async with scoped(desk.pool, owner_id) as scope:
            known = await parts.attributed(scope, [sent.sid for sent in same])
            ours = [sent for sent in same if sent.sid not in known]
            if ours:
                await aftermath.learn(
                    scope,
                    message_id=job.message_id,
                    part=job.part.part,
                    sid=ours[-1].sid,
                    status=ours[-1].status,
                    error_code=ours[-1].error_code,
                )
                await parts.end_attempt(scope, job.attempt.id, "taken")
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
        await desk.pause(desk.reconcile_poll_s)


def _candidates(listed: Sequence[Sent], job: Job) -> list[Sent]:
    """What of Twilio's list can be this part; those that are known as another's are still among them.

    What a template says once Twilio has filled it in, and whether a caption is kept, is Twilio's to say: where nothing
    says the same words, kind and time decide for what is not text. Nothing else of ours is under way to this contact.
    """
    content = job.part.content
    is_media = content is not None and content["kind"] == "media"
    alike = [sent for sent in listed if not is_media or sent.num_media > 0]
    same = [sent for sent in alike if sent.body.strip() == job.part.body.strip()]
    if same or content is None:
        return same
    since = job.attempt.started_at - NEAR
    return [sent for sent in alike if sent.date_created is None or sent.date_created >= since]


async def _database_time(desk: DeliverDesk) -> datetime:
    async with borrowed(desk.pool) as conn:
        row = await (await conn.execute("SELECT clock_timestamp() AS now")).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM
    now: datetime = row["now"]
    return now


async def _until_next_look_s(desk: DeliverDesk, job: Job) -> float:
    """A pause that grows with the attempt's age: a list that fails for long, of a revoked token, is asked rarely."""
    age_s = (await persistently(lambda: _database_time(desk)) - job.attempt.started_at).total_seconds()
    return max(desk.reconcile_poll_s * 3, min(LONGEST_PAUSE_S, age_s / 2))


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


async def _note_reconciled(scope: Scope, job: Job, outcome: str) -> None:
    await events.record(
        scope,
        step="deliver",
        what=f"reconciled_{outcome}",
        conversation_id=job.conversation.id,
        message_id=job.message_id,
        correlation_id=job.correlation_id,
        data={"part": job.part.part},
    )


async def _give_up(desk: DeliverDesk, owner_id: UUID, job: Job) -> None:
    async with scoped(desk.pool, owner_id) as scope:
        await parts.stop(scope, job.message_id, error_code=None)
