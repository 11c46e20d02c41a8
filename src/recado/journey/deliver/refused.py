"""deliver, what was refused: what follows from it, by its class, whether Twilio said so at once or later."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from uuid import UUID

from recado.channels.port import ErrorClass, SendError
from recado.channels.twilio.codes import NOT_FINAL_CODES, OPT_OUT_CODES, classify
from recado.conversations import parts, suppressions, templates
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.holding import HeldFor
from recado.db.pool import Row, persistently
from recado.db.scope import Scope, scoped
from recado.delivery.content import Attachment, TemplateUse, from_json
from recado.delivery.retry import Action, Decision, decide
from recado.journey.deliver import dispatch
from recado.journey.deliver.dispatch import DeliverDesk, Job, Unmade
from recado.journey.deliver.late import carry_or_hold

#: Why Twilio may not take buttons that it made before.
_REFUSED = (ErrorClass.CONTENT, ErrorClass.TEMPLATE)
_HELD_FOR: Mapping[ErrorClass, HeldFor] = {
    ErrorClass.CONFIGURATION: "setup",
    ErrorClass.QUOTA: "quota",
    ErrorClass.LOOK: "look",
}


async def refused(desk: DeliverDesk, owner_id: UUID, job: Job, error: SendError, *, took_s: float) -> None:
    """Record how the attempt ended and do what its class says: again, look first, hold, or give up.

    `took_s` is how long the attempt lasted.
    """
    age_s = (desk.clock.now() - job.queued_at).total_seconds()
    decision = decide(
        error.error_class,
        attempt=job.attempt.tries,
        age_s=age_s,
        retry_after_s=error.retry_after_s,
        random=random.random,
        policy=desk.policy,
    )
    await persistently(partial(_settle, desk, owner_id, job, error, decision, age_s, took_s))
    if decision.action in (Action.RETRY, Action.RECONCILE) and decision.delay_s:
        await desk.pause(decision.delay_s)


async def _settle(
    desk: DeliverDesk, owner_id: UUID, job: Job, error: SendError, decision: Decision, age_s: float, took_s: float
) -> None:
    async with scoped(desk.pool, owner_id) as scope:
        if error.code is not None and error.code in OPT_OUT_CODES:
            await suppressions.refused(scope, job.message_id, job.part.part, code=error.code)
        await parts.end_attempt(
            scope,
            job.attempt.id,
            "unknown" if error.error_class is ErrorClass.UNKNOWN else "refused",
            error_class=error.error_class,
            error_code=error.code,
        )
        await happened(
            scope,
            "deliver",
            error.error_class.value,
            conversation_id=job.conversation.id,
            message_id=job.message_id,
            correlation_id=job.correlation_id,
            duration_s=took_s,
            age_s=age_s,
            part=job.part.part,
            code=error.code,
            text=error.owner_text,
            then=await _follow(scope, desk, job, error, decision),
            error_class=error.error_class,
            tries=job.attempt.tries,
        )


async def _follow(scope: Scope, desk: DeliverDesk, job: Job, error: SendError, decision: Decision) -> str:
    """Do what follows now, and say it in a word. An unknown outcome is looked up: what Twilio took did not fail."""
    if error.error_class is ErrorClass.WINDOW:
        return await carry_or_hold(scope, job.message_id, job.correlation_id, job.conversation)
    if error.error_class in _REFUSED and await _without_buttons(scope, desk, job, code=error.code):
        return "text"
    if decision.action is Action.FAIL and error.error_class is not ErrorClass.UNKNOWN:
        await parts.stop(scope, job.message_id, error_code=error.code)
    elif decision.action is Action.HOLD:
        delay_s = decision.delay_s
        await parts.hold(
            scope,
            job.message_id,
            held_for=_HELD_FOR[error.error_class],
            error_code=error.code,
            look_again_at=None if delay_s is None else desk.clock.now() + timedelta(seconds=delay_s),
        )
    return decision.action


async def refused_later(scope: Scope, desk: DeliverDesk, message: Row, conversation: Conversation) -> bool:
    """Do what its class says about what Twilio took and failed later, as if it had been said at once.

    The wait is that of what is held: nobody sleeps for it. Not again is what failed for good, or too often, too late.
    """
    now, message_id = desk.clock.now(), message["id"]
    refusal = await parts.refusal(scope, message_id)
    if refusal is None or refusal.error_code not in NOT_FINAL_CODES:
        return False
    error_class = classify(None, refusal.error_code)
    if error_class is ErrorClass.WINDOW:
        await parts.reopen(scope, message_id)
        await carry_or_hold(scope, message_id, message["correlation_id"], conversation)
        return True
    decision = decide(
        error_class,
        attempt=max(refusal.tries, 1),
        age_s=(now - message["received_at"]).total_seconds(),
        random=random.random,
        policy=desk.policy,
    )
    if decision.action is Action.FAIL:
        return False
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
    return False


async def _note(scope: Scope, message: Row, what: str) -> None:
    await happened(
        scope,
        "deliver",
        what,
        conversation_id=message["conversation_id"],
        message_id=message["id"],
        correlation_id=message["correlation_id"],
    )


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
