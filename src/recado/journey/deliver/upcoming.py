"""deliver, what is next: of an outbound message the one thing to do now, as its rows say.

Each rule is a function that answers what is to be done instead, or None to go on to the next rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from recado.channels.twilio.addresses import canonical_address, is_whatsapp
from recado.clock import uptime
from recado.conversations import conversations, parts, suppressions
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.parts import Part
from recado.db.pool import Row
from recado.db.scope import Scope, scoped
from recado.delivery.status import FAILURES, LEFT
from recado.delivery.window import window
from recado.journey.deliver import dispatch, unsent
from recado.journey.deliver.dispatch import DeliverDesk, Job, Unmade, Unsendable
from recado.journey.deliver.late import carry_or_hold
from recado.journey.deliver.refused import refused_later


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done before the part that was sent earlier has left Twilio, or for so long."""

    left_s: float


@dataclass(frozen=True, slots=True)
class Suspected:
    """The message was in hand when a worker died: it begins when no other such message has just begun."""


@dataclass(frozen=True, slots=True)
class Over:
    """There is nothing to do for the message now."""


Next = Job | Unmade | Suspected | Wait | Over
#: Its rows have just changed: look again.
AGAIN = Wait(0.0)
OVER = Over()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """The message as it is now, and where it goes."""

    message: Row = field(repr=False)
    conversation: Conversation = field(repr=False)
    now: datetime

    @property
    def id(self) -> UUID:
        message_id: UUID = self.message["id"]
        return message_id


# No opt-out is committed from here on: SHARE keeps it out until the attempt has begun.
_MESSAGE = f"""
SELECT m.id, m.conversation_id, m.body, m.content, m.status, m.error_code, m.correlation_id,
       m.author, m.reply_to, m.starts, m.begun_at, m.received_at, c.identity_key, {suppressions.SHARE}
FROM messages m
JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
WHERE m.owner_id = %s AND m.id = %s AND m.direction = 'outbound'
"""  # noqa: S608 - a constant


async def next_to_do(desk: DeliverDesk, owner_id: UUID, message_id: UUID, *, alone: bool) -> Next:
    """The one next thing to do for the message. Begins the attempt where that is to send.

    What is suspected of ending workers is looked at only once it is `alone`.
    """
    async with scoped(desk.pool, owner_id) as scope:
        message = await (await scope.conn.execute(_MESSAGE, [owner_id, message_id])).fetchone()
        if message is None or message["status"] == "held":
            return OVER
        conversation = await desk.recall(scope, await conversations.get(scope, message["conversation_id"]))
        if conversation.identity_key != message["identity_key"]:
            return AGAIN  # the contact has become another meanwhile: their opt-outs have another lock
        case = _Case(message=message, conversation=conversation, now=desk.clock.now())
        return (
            await _if_suspected(scope, desk, case, alone=alone)
            or await _if_unsendable(scope, case)
            or await _if_refused_later(scope, desk, case)
            or await _if_behind(scope, case)
            or await _next_part(scope, desk, case)
        )


async def _if_suspected(scope: Scope, desk: DeliverDesk, case: _Case, *, alone: bool) -> Next | None:
    if not case.message["starts"]:
        return None
    if not alone:
        return Suspected()
    broken = await unsent.hold_if_broken(scope, case.message, case.conversation, apology=desk.apology, now=case.now)
    return OVER if broken else None


async def _if_unsendable(scope: Scope, case: _Case) -> Next | None:
    if is_whatsapp(case.conversation.contact_address):
        return None
    return await _stop(scope, case, "other_channel")


async def _if_refused_later(scope: Scope, desk: DeliverDesk, case: _Case) -> Next | None:
    if case.message["status"] != "failed":
        return None
    return AGAIN if await refused_later(scope, desk, case.message, case.conversation) else OVER


async def _if_behind(scope: Scope, case: _Case) -> Next | None:
    """What is said before it waits for a limit to pass, and goes first."""
    until = await parts.held_before(scope, case.conversation.id, case.id)
    if until is None:
        return None
    await parts.hold(scope, case.id, held_for="quota", error_code=None, look_again_at=until)
    await _note(scope, case, "behind")
    return OVER


async def _next_part(scope: Scope, desk: DeliverDesk, case: _Case) -> Next:
    try:
        planned = await dispatch.planned(scope, desk, case.message)
    except Unsendable as error:
        return await _stop(scope, case, error.reason)
    part = next((part for part in planned if part.status == parts.WAITING), None)
    if part is None:
        await parts.close_attempts(scope, case.id)
        return OVER
    shut = _shut(case, part)
    return (
        await _if_shut(scope, case, part, shut)
        or await _if_out_of_reach(scope, desk, case, part)
        or dispatch.unmade(case.message, case.conversation, part)
        or await _if_the_one_before_is_not_there(scope, desk, case, part, planned)
        or await _begin(scope, case, part, shut, is_last=part.part == planned[-1].part)
    )


def _shut(case: _Case, part: Part) -> Literal["opted_out", "late"] | None:
    """Why nothing new of it may be sent now."""
    if case.conversation.suppressed and case.conversation.confirmation_id != case.id:
        return "opted_out"
    if not _is(part, "template") and not window(case.conversation.last_inbound_at, case.now).open:
        return "late"
    return None


async def _if_shut(scope: Scope, case: _Case, part: Part, shut: Literal["opted_out", "late"] | None) -> Next | None:
    """What Twilio may have taken already is looked up first: a message that it took did not fail, nor come too late."""
    if shut is None or await parts.open_attempt(scope, case.id, part.part) is not None:
        return None
    if shut == "opted_out":
        await parts.stop(scope, case.id, error_code=21610)
        await _note(scope, case, "opted_out")
        return OVER
    await carry_or_hold(scope, case.id, case.message["correlation_id"], case.conversation)
    return AGAIN


async def _if_out_of_reach(scope: Scope, desk: DeliverDesk, case: _Case, part: Part) -> Next | None:
    """Twilio fetches an attachment from our public URL."""
    if not _is(part, "media") or desk.url_for(case.conversation) is not None:
        return None
    await parts.hold(scope, case.id, held_for="setup", error_code=None, reason="no_public_url")
    await _note(scope, case, "no_public_url")
    return OVER


async def _if_the_one_before_is_not_there(
    scope: Scope, desk: DeliverDesk, case: _Case, part: Part, planned: list[Part]
) -> Next | None:
    before = planned[part.part - 2] if part.part > 1 else None
    if before is not None and before.status in FAILURES:
        await parts.stop(scope, case.id, error_code=before.error_code)
        return OVER
    row = await _predecessor(scope, case.conversation.id, case.id, part.part)
    if row is None or row["status"] in LEFT:
        return None
    if row["status"] in FAILURES:
        # One of this message that failed after its parts were read stops the rest.
        return AGAIN if row["id"] == case.id else None
    return Wait(desk.predecessor_s - row["ago_s"]) if row["ago_s"] < desk.predecessor_s else None


async def _begin(
    scope: Scope, case: _Case, part: Part, shut: Literal["opted_out", "late"] | None, *, is_last: bool
) -> Next:
    """Begin an attempt at the part, or go on with the open one, whose outcome is to be looked up."""
    not_after = uptime() + dispatch.LEAVES_WITHIN_S
    begun = None
    if shut is None:
        address = canonical_address(case.conversation.contact_address)
        begun = await parts.begin_attempt(scope, case.id, part.part, address=address)
    attempt = begun or await parts.open_attempt(scope, case.id, part.part)
    if attempt is None:
        return AGAIN  # its status moved this moment
    return Job(
        message_id=case.id,
        correlation_id=case.message["correlation_id"],
        queued_at=case.message["received_at"],
        conversation=case.conversation,
        part=part,
        is_last=is_last,
        attempt=attempt,
        reconcile=begun is None,
        not_after=not_after,
    )


async def _stop(scope: Scope, case: _Case, reason: str) -> Over:
    await parts.stop(scope, case.id, error_code=None, reason=reason)
    await _note(scope, case, reason)
    return OVER


def _is(part: Part, kind: str) -> bool:
    return part.content is not None and part.content["kind"] == kind


async def _note(scope: Scope, case: _Case, what: str) -> None:
    await happened(
        scope,
        "deliver",
        what,
        conversation_id=case.conversation.id,
        message_id=case.id,
        correlation_id=case.message["correlation_id"],
    )


async def _predecessor(scope: Scope, conversation_id: UUID, message_id: UUID, part: int) -> Row | None:
    """The part that goes before this one and that Twilio took, as it is now: whose it is, its status, how long ago.

    By the database's clock, which wrote that time.
    """
    return await (
        await scope.conn.execute(
            """
            SELECT m.id, p.status, extract(epoch FROM clock_timestamp() - p.taken_at)::float AS ago_s FROM messages m
            JOIN message_parts p ON p.owner_id = m.owner_id AND p.message_id = m.id
            WHERE m.owner_id = %s AND m.conversation_id = %s AND m.direction = 'outbound'
              AND (m.id, p.part) < (%s, %s) AND p.taken_at IS NOT NULL
            ORDER BY m.id DESC, p.part DESC LIMIT 1
            """,
            [scope.owner_id, conversation_id, message_id, part],
        )
    ).fetchone()
