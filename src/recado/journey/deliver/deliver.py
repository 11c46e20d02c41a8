"""deliver: `send_whatsapp_message`, one outbound message to its contact, in parts, each exactly once.

Every attempt is a row before it is a call. What a crash or a broken connection leaves open is looked up in Twilio's
list of messages before anything is posted again: Twilio has no idempotency key, the list is the only witness.
The workflow keeps no state of its own: each pass reads the rows and does the one next thing (`upcoming`).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from uuid import UUID

from recado import tracing
from recado.channels.port import SendError, Sent
from recado.channels.twilio.addresses import canonical_address
from recado.conversations import parts
from recado.conversations.happenings import happened
from recado.db.pool import persistently
from recado.db.scope import scoped
from recado.journey.deliver import dispatch, unsent
from recado.journey.deliver.dispatch import DeliverDesk, Job, Unmade
from recado.journey.deliver.reconcile import reconcile
from recado.journey.deliver.refused import refused
from recado.journey.deliver.upcoming import Over, Suspected, Wait, next_to_do
from recado.journey.pause import SHORT_S

#: Where the webhook's path is, for the status callbacks.
OUTBOUND_PATH = "/channels/twilio/v1/webhooks/outbound"
PREDECESSOR_POLL_S, PREDECESSOR_PAUSE_S = 0.1, 1.5


async def send_whatsapp_message(desk: DeliverDesk, owner_id: UUID, message_id: UUID) -> None:
    """Send what is not sent yet of the message; idempotent, and safe against a second executor doing the same."""
    async with AsyncExitStack() as stack:
        suspected = await _send(desk, owner_id, message_id, stack)
        if suspected:

            async def forgive() -> None:
                async with scoped(desk.pool, owner_id) as scope:
                    await unsent.forgive(scope, message_id, now=desk.clock.now())

            await persistently(forgive)


async def _send(desk: DeliverDesk, owner_id: UUID, message_id: UUID, stack: AsyncExitStack) -> bool:
    """Do so; whether the message was suspected of ending workers, which it has not done then."""
    waited_s, suspected = 0.0, False
    while True:
        job = await persistently(partial(next_to_do, desk, owner_id, message_id, alone=suspected))
        if isinstance(job, Over):
            return suspected
        if isinstance(job, Suspected):
            await stack.enter_async_context(desk.suspects.alone())
            suspected = True
            continue
        if isinstance(job, Wait):
            # Most parts have left within a moment; one that has not is looked for from time to time.
            waited_s += PREDECESSOR_POLL_S
            if waited_s <= SHORT_S:
                await asyncio.sleep(PREDECESSOR_POLL_S)
            else:
                await desk.pause(min(job.left_s, PREDECESSOR_PAUSE_S))
        elif isinstance(job, Unmade):
            await dispatch.make(desk, owner_id, job)
        elif job.reconcile:
            await reconcile(desk, owner_id, job)
        elif await _post(desk, owner_id, job) and job.is_last:
            return suspected


async def _post(desk: DeliverDesk, owner_id: UUID, job: Job) -> bool:
    """Hand the part to Twilio once; whether it was taken. What went wrong is recorded, with what follows from it."""
    conversation, began = job.conversation, desk.clock.monotonic()
    try:
        sender = await desk.sender_of(owner_id, conversation.account_id)
        sent = await sender.send(
            to=canonical_address(conversation.contact_address),
            from_=conversation.number_address,
            messaging_service_sid=conversation.messaging_service_sid,
            **dispatch.posted(desk, owner_id, job),
            status_callback=_callback_url(desk, job),
            not_after=job.not_after,
        )
    except SendError as error:
        await refused(desk, owner_id, job, error, took_s=desk.clock.monotonic() - began)
        return False
    took_s = desk.clock.monotonic() - began
    await persistently(lambda: _taken(desk, owner_id, job, sent, took_s))
    return True


def _callback_url(desk: DeliverDesk, job: Job) -> str | None:
    public_url = desk.url_for(job.conversation)
    if public_url is None:
        return None
    traced = f"&trace={job.correlation_id}" if tracing.samples(job.correlation_id) else ""
    return f"{public_url}{OUTBOUND_PATH}?message={job.message_id}&part={job.part.part}{traced}"


async def _taken(desk: DeliverDesk, owner_id: UUID, job: Job, sent: Sent, took_s: float) -> None:
    async with scoped(desk.pool, owner_id) as scope, scope.conn.pipeline():
        await parts.end_attempt(scope, job.attempt.id, "taken")
        await parts.move_status(
            scope, message_id=job.message_id, part=job.part.part, sid=sent.sid, status=sent.status, error_code=None
        )
        await happened(
            scope,
            "deliver",
            "sent",
            conversation_id=job.conversation.id,
            message_id=job.message_id,
            correlation_id=job.correlation_id,
            duration_s=took_s,
            age_s=(desk.clock.now() - job.queued_at).total_seconds(),
            part=job.part.part,
            tries=job.attempt.tries,
            sid=sent.sid,
        )
