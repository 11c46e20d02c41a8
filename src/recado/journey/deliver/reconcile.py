"""Finding out what became of an attempt whose outcome nobody saw: Twilio's list of messages is the only witness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from recado.channels.port import SendError, Sent
from recado.channels.twilio.addresses import identity_key
from recado.conversations import parts
from recado.conversations.happenings import happened
from recado.conversations.parts import Attempt
from recado.db.borrowing import borrowed
from recado.db.pool import persistently
from recado.db.scope import Scope, scoped
from recado.delivery.same import same, says_nothing
from recado.journey.deliver import aftermath
from recado.journey.deliver.dispatch import DeliverDesk, Job

#: How far Twilio's clock and the database's may be apart.
NEAR = timedelta(seconds=30)
#: A list that Twilio does not give is asked for again after half the time that the attempt is old, at most this.
LONGEST_PAUSE_S = 900.0
#: After how long a message that Twilio lists without its words is no longer taken for that attempt's.
LATEST = timedelta(minutes=5)


async def reconcile(desk: DeliverDesk, owner_id: UUID, job: Job) -> None:
    """Find out what became of an attempt whose outcome nobody saw; post nothing."""
    try:
        looked_at, listed = await _look_up(desk, owner_id, job)
    except SendError as error:
        await _nothing_listed(desk, owner_id, job, error)
        return
    if not await persistently(partial(_settle, desk, owner_id, job, looked_at, listed)):
        await desk.pause(desk.reconcile_poll_s)


async def _look_up(desk: DeliverDesk, owner_id: UUID, job: Job) -> tuple[datetime, list[Sent]]:
    """What Twilio lists since the attempt began, by the database's clock, and when it was looked up."""
    sender = await desk.sender_of(owner_id, job.conversation.account_id)
    looked_at = await persistently(lambda: _database_time(desk))
    # The attempt's time is the database's, whose clock may be hours from ours.
    ahead = looked_at - datetime.now(UTC)
    listed = await sender.find(
        to=job.attempt.address or job.conversation.contact_address,
        from_=job.conversation.number_address,
        since=job.attempt.started_at - ahead - timedelta(minutes=2),
    )
    return looked_at, [
        sent if sent.date_created is None else replace(sent, date_created=sent.date_created + ahead) for sent in listed
    ]


async def _nothing_listed(desk: DeliverDesk, owner_id: UUID, job: Job, error: SendError) -> None:
    """Ask again after a while; the message is given up once its window is over."""
    await _note(owner_id, job, "reconcile_failed", code=error.code)
    if (desk.clock.now() - job.queued_at) > timedelta(seconds=desk.policy.window_s):
        await persistently(lambda: _give_up(desk, owner_id, job))
        return
    await desk.pause(max(min(error.retry_after_s or 0.0, LONGEST_PAUSE_S), await _until_next_look_s(desk, job)))


async def _settle(desk: DeliverDesk, owner_id: UUID, job: Job, looked_at: datetime, listed: Sequence[Sent]) -> bool:
    """Record what became of the attempt; False while the list may not show yet what was taken."""
    async with scoped(desk.pool, owner_id) as scope:
        known = await parts.attributed(scope, [sent.sid for sent in listed])
        ours = _ours([sent for sent in listed if sent.sid not in known], job)
        if ours is not None:
            await aftermath.apply_status(
                scope,
                message_id=job.message_id,
                part=job.part.part,
                sid=ours.sid,
                status=ours.status,
                error_code=ours.error_code,
            )
            await parts.end_attempt(scope, job.attempt.id, "taken")
            await _note(scope, job, "reconciled_taken")
            return True
        if looked_at < await _settled_at(scope, desk, job.attempt):
            return False
        await parts.end_attempt(scope, job.attempt.id, "not_taken")
        await _note(scope, job, "reconciled_not_taken")
        too_old = looked_at - job.queued_at > timedelta(seconds=desk.policy.max_age_s)
        if job.attempt.tries >= desk.policy.max_attempts or too_old:
            await parts.stop(scope, job.message_id, error_code=None)
        return True


def _ours(listed: Sequence[Sent], job: Job) -> Sent | None:
    """Which of these, that are known as no other part's, is this part; None for none.

    Kind and addresses must be the same, and the words as a reader sees them. Of several it is the one nearest to the
    attempt: the others are somebody else's. What a template says once Twilio has filled it in, whether a caption is
    kept, and what was redacted, is Twilio's to say: where no listed words are the same, time decides for those. Nothing
    else of ours is under way to this contact.
    """
    alike = [sent for sent in listed if _is_alike(sent, job)]
    found = [sent for sent in alike if same(sent.body, job.part.body)]
    if not found:
        since, until = job.attempt.started_at - NEAR, job.attempt.started_at + LATEST
        found = [
            sent
            for sent in alike
            if (job.part.content is not None or says_nothing(sent.body))
            and (sent.date_created is None or since <= sent.date_created <= until)
        ]
    return min(found, key=lambda sent: _away(sent, job), default=None)


def _is_alike(sent: Sent, job: Job) -> bool:
    """Whether it went the same way, and is a file where the part is one and none where the part is text."""
    content = job.part.content
    if content is None and sent.num_media > 0:
        return False
    if content is not None and content["kind"] == "media" and sent.num_media == 0:
        return False
    to = job.attempt.address or job.conversation.contact_address
    return all(
        listed is None or not listed.strip() or identity_key(listed) == identity_key(posted)
        for listed, posted in ((sent.to, to), (sent.from_, job.conversation.number_address))
    )


def _away(sent: Sent, job: Job) -> timedelta:
    """How far from the attempt it was made; Twilio's dates are in whole seconds, and one that has none is new."""
    return timedelta(0) if sent.date_created is None else abs(sent.date_created - job.attempt.started_at)


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


async def _note(where: Scope | UUID, job: Job, what: str, **details: Any) -> None:
    await happened(
        where,
        "deliver",
        what,
        conversation_id=job.conversation.id,
        message_id=job.message_id,
        correlation_id=job.correlation_id,
        part=job.part.part,
        **details,
    )


async def _give_up(desk: DeliverDesk, owner_id: UUID, job: Job) -> None:
    async with scoped(desk.pool, owner_id) as scope:
        await parts.stop(scope, job.message_id, error_code=None)
