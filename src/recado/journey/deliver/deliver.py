"""deliver: `send_whatsapp_message`, one outbound message to its contact, in parts, each exactly once.

Every attempt is a row before it is a call. What a crash or a broken connection leaves open is looked up in Twilio's
list of messages before anything is posted again: Twilio has no idempotency key, the list is the only witness.
The workflow keeps no state of its own: each pass reads the rows and does the one next thing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from recado.channels.port import ErrorClass, SendError, Sent
from recado.channels.twilio.addresses import canonical_address, is_whatsapp
from recado.channels.twilio.codes import NOT_FINAL_CODES, OPT_OUT_CODES, classify
from recado.clock import uptime
from recado.conversations import conversations, parts, suppressions, templates
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.holding import HeldFor
from recado.conversations.parts import Part
from recado.db.pool import Row, persistently
from recado.db.scope import Scope, scoped
from recado.delivery.content import Attachment, TemplateUse, from_json
from recado.delivery.retry import Action, decide
from recado.delivery.status import FAILURES, LEFT
from recado.delivery.window import window
from recado.journey.deliver import dispatch, unsent
from recado.journey.deliver.dispatch import DeliverDesk, Job, Unmade, Unsendable
from recado.journey.deliver.late import carry_or_hold
from recado.journey.deliver.reconcile import reconcile
from recado.journey.pause import SHORT_S

#: Where the webhook's path is, for the status callbacks.
OUTBOUND_PATH = "/channels/twilio/v1/webhooks/outbound"
PREDECESSOR_POLL_S, PREDECESSOR_PAUSE_S = 0.1, 1.5
#: Why Twilio may not take buttons that it made before.
_REFUSED = (ErrorClass.CONTENT, ErrorClass.TEMPLATE)
_HELD_FOR: Mapping[ErrorClass, HeldFor] = {
    ErrorClass.CONFIGURATION: "setup",
    ErrorClass.QUOTA: "quota",
    ErrorClass.LOOK: "look",
}


@dataclass(frozen=True, slots=True)
class _Wait:
    """Nothing can be done before the part that was sent earlier has left Twilio, or for so long."""

    left_s: float


@dataclass(frozen=True, slots=True)
class _Suspected:
    """The message was in hand when a worker died: it begins when no other such message has just begun."""


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
        job = await persistently(partial(_next, desk, owner_id, message_id, alone=suspected))
        if job is None:
            return suspected
        if isinstance(job, _Suspected):
            await stack.enter_async_context(desk.suspects.alone())
            suspected = True
            continue
        if isinstance(job, _Wait):
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


async def _next(
    desk: DeliverDesk, owner_id: UUID, message_id: UUID, *, alone: bool
) -> Job | Unmade | _Suspected | _Wait | None:
    """The one next thing to do for the message; None when there is nothing left to do. Begins the attempt.

    What is suspected of ending workers is looked at only once it is `alone`.
    """
    now = desk.clock.now()
    async with scoped(desk.pool, owner_id) as scope:
        message = await (
            await scope.conn.execute(
                f"""
                SELECT m.id, m.conversation_id, m.body, m.content, m.status, m.error_code, m.correlation_id,
                       m.author, m.reply_to, m.starts, m.begun_at, m.received_at, c.identity_key, {suppressions.SHARE}
                FROM messages m
                JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
                JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
                WHERE m.owner_id = %s AND m.id = %s AND m.direction = 'outbound'
                """,  # noqa: S608 - a constant
                [owner_id, message_id],
            )
        ).fetchone()
        if message is None or message["status"] == "held":
            return None
        conversation = await conversations.get(scope, message["conversation_id"])
        if conversation.identity_key != message["identity_key"]:
            return _Wait(0.0)  # the contact has become another meanwhile: their opt-outs have another lock
        if message["starts"] and not alone:
            return _Suspected()
        if message["starts"] and await unsent.hold_if_broken(
            scope, message, conversation, apology=desk.apology, now=now
        ):
            return None
        if not is_whatsapp(conversation.contact_address):
            await parts.stop(scope, message_id, error_code=None, reason="other_channel")
            await _note(scope, message, "other_channel")
            return None
        if message["status"] == "failed":
            return await _refused_later(scope, desk, message, conversation)
        if (until := await parts.held_before(scope, conversation.id, message_id)) is not None:
            # What is said before it waits for a limit to pass, and goes first.
            await parts.hold(scope, message_id, held_for="quota", error_code=None, look_again_at=until)
            await _note(scope, message, "behind")
            return None
        try:
            planned = await dispatch.planned(scope, desk, message)
        except Unsendable as error:
            await parts.stop(scope, message_id, error_code=None, reason=error.reason)
            await _note(scope, message, error.reason)
            return None
        waiting = [part for part in planned if part.status == parts.WAITING]
        if not waiting:
            await parts.close_attempts(scope, message_id)
            return None
        part = waiting[0]
        opted_out = conversation.suppressed and conversation.confirmation_id != message_id
        late = not _is_template(part) and not window(conversation.last_inbound_at, now).open
        # What Twilio may have taken already is looked up first: a message that it took did not fail, nor come too late.
        if (opted_out or late) and await parts.open_attempt(scope, message_id, part.part) is None:
            if opted_out:
                await parts.stop(scope, message_id, error_code=21610)
                await _note(scope, message, "opted_out")
                return None
            await carry_or_hold(scope, message_id, message["correlation_id"], conversation)
            return _Wait(0.0)
        if _is_media(part) and desk.url_for(conversation) is None:
            await parts.hold(scope, message_id, held_for="setup", error_code=None, reason="no_public_url")
            await _note(scope, message, "no_public_url")
            return None
        if (missing := dispatch.unmade(message, conversation, part)) is not None:
            return missing
        before = planned[part.part - 2] if part.part > 1 else None
        if before is not None and before.status in FAILURES:
            await parts.stop(scope, message_id, error_code=before.error_code)
            return None
        wait = await _predecessor(scope, conversation.id, message_id, part.part)
        if wait is not None and wait < desk.predecessor_s:
            return _Wait(desk.predecessor_s - wait)
        not_after = uptime() + dispatch.LEAVES_WITHIN_S
        begun = (
            None
            if opted_out or late
            else await parts.begin_attempt(
                scope, message_id, part.part, address=canonical_address(conversation.contact_address)
            )
        )
        attempt = begun or await parts.open_attempt(scope, message_id, part.part)
        if attempt is None:
            return _Wait(0.0)  # its status moved this moment: look again
        return Job(
            message_id=message_id,
            correlation_id=message["correlation_id"],
            queued_at=message["received_at"],
            conversation=conversation,
            part=part,
            is_last=part.part == planned[-1].part,
            attempt=attempt,
            reconcile=begun is None,
            not_after=not_after,
        )


async def _refused_later(scope: Scope, desk: DeliverDesk, message: Row, conversation: Conversation) -> _Wait | None:
    """Do what its class says about what Twilio took and failed later, as if it had been said at once.

    The wait is that of what is held: nobody sleeps for it. Not again is what failed for good, or too often, too late.
    """
    now, message_id = desk.clock.now(), message["id"]
    refusal = await parts.refusal(scope, message_id)
    if refusal is None or refusal.error_code not in NOT_FINAL_CODES:
        return None
    error_class = classify(None, refusal.error_code)
    if error_class is ErrorClass.WINDOW:
        await parts.reopen(scope, message_id)
        await carry_or_hold(scope, message_id, message["correlation_id"], conversation)
        return _Wait(0.0)
    decision = decide(
        error_class,
        attempt=max(refusal.tries, 1),
        age_s=(now - message["received_at"]).total_seconds(),
        random=random.random,
        policy=desk.policy,
    )
    if decision.action is Action.FAIL:
        return None
    again_at = None if decision.delay_s is None else now + timedelta(seconds=decision.delay_s)
    await parts.reopen(scope, message_id)
    await parts.hold(
        scope,
        message_id,
        held_for=_HELD_FOR.get(error_class, "quota"),
        error_code=refusal.error_code,
        look_again_at=again_at,
    )
    await _note(scope, message, "held_again" if again_at is None else "again_later")
    return None


def _is_template(part: Part) -> bool:
    return part.content is not None and part.content["kind"] == "template"


def _is_media(part: Part) -> bool:
    return part.content is not None and part.content["kind"] == "media"


async def _note(scope: Scope, message: Row, what: str) -> None:
    await happened(
        scope,
        "deliver",
        what,
        conversation_id=message["conversation_id"],
        message_id=message["id"],
        correlation_id=message["correlation_id"],
    )


async def _predecessor(scope: Scope, conversation_id: UUID, message_id: UUID, part: int) -> float | None:
    """How long ago Twilio took the part that goes before this one, if it has not left Twilio yet.

    By the database's clock, which wrote that time.
    """
    row = await (
        await scope.conn.execute(
            """
            SELECT extract(epoch FROM clock_timestamp() - p.taken_at)::float AS ago_s, p.status FROM messages m
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
    ago_s: float = row["ago_s"]
    return ago_s


async def _post(desk: DeliverDesk, owner_id: UUID, job: Job) -> bool:
    """Hand the part to Twilio once; whether it was taken. What went wrong is recorded, with what follows from it."""
    conversation = job.conversation
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
        await _failed(desk, owner_id, job, error)
        return False
    await persistently(lambda: _taken(desk, owner_id, job, sent))
    return True


def _callback_url(desk: DeliverDesk, job: Job) -> str | None:
    public_url = desk.url_for(job.conversation)
    if public_url is None:
        return None
    return f"{public_url}{OUTBOUND_PATH}?message={job.message_id}&part={job.part.part}"


async def _taken(desk: DeliverDesk, owner_id: UUID, job: Job, sent: Sent) -> None:
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
            age_s=(desk.clock.now() - job.queued_at).total_seconds(),
            part=job.part.part,
            tries=job.attempt.tries,
            sid=sent.sid,
        )


async def _failed(desk: DeliverDesk, owner_id: UUID, job: Job, error: SendError) -> None:
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
            if error.code is not None and error.code in OPT_OUT_CODES:
                await suppressions.refused(scope, job.message_id, job.part.part, code=error.code)
            await parts.end_attempt(
                scope,
                job.attempt.id,
                "unknown" if unknown else "refused",
                error_class=error.error_class,
                error_code=error.code,
            )
            then: str = decision.action
            if error.error_class is ErrorClass.WINDOW:
                then = await carry_or_hold(scope, job.message_id, job.correlation_id, job.conversation)
            elif error.error_class in _REFUSED and await _without_buttons(scope, desk, job, code=error.code):
                then = "text"
            elif decision.action is Action.FAIL and not unknown:
                await parts.stop(scope, job.message_id, error_code=error.code)
            elif decision.action is Action.HOLD:
                await parts.hold(
                    scope,
                    job.message_id,
                    held_for=_HELD_FOR[error.error_class],
                    error_code=error.code,
                    look_again_at=None
                    if decision.delay_s is None
                    else desk.clock.now() + timedelta(seconds=decision.delay_s),
                )
            await happened(
                scope,
                "deliver",
                error.error_class.value,
                conversation_id=job.conversation.id,
                message_id=job.message_id,
                correlation_id=job.correlation_id,
                age_s=age_s,
                part=job.part.part,
                code=error.code,
                text=error.owner_text,
                then=then,
                error_class=error.error_class,
                tries=job.attempt.tries,
            )

    await persistently(note)
    if decision.action in (Action.RETRY, Action.RECONCILE) and decision.delay_s:
        await desk.pause(decision.delay_s)


async def _without_buttons(scope: Scope, desk: DeliverDesk, job: Job, *, code: int | None) -> bool:
    """Whether the part was buttons or a list that Twilio no longer takes; it lists them as text from now on."""
    made = job.part.content
    if made is None or made["kind"] not in dispatch.CHOICES:
        return False
    cursor = await scope.conn.execute(
        "SELECT content FROM messages WHERE owner_id = %s AND id = %s", [scope.owner_id, job.message_id]
    )
    row = await cursor.fetchone()
    choices = from_json(row["content"]) if row is not None else None
    if choices is None or isinstance(choices, Attachment | TemplateUse):
        return False
    await templates.forget(scope, job.conversation.account_id, made["content_sid"])
    gone = Unmade(
        message_id=job.message_id,
        correlation_id=job.correlation_id,
        conversation=job.conversation,
        part=job.part,
        choices=choices,
    )
    await dispatch.say_as_text(scope, desk, gone, code=code)
    return True
