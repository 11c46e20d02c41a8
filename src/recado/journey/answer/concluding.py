"""answer, its end: a draft becomes the reply, in one transaction with the turn and what it cost; or it is stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from recado.conversations import conversations, messages, turns
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.holding import HeldFor
from recado.conversations.messages import Message
from recado.conversations.turns import Turn
from recado.db.scope import Scope, scoped
from recado.identity import plans
from recado.journey.answer.desk import AnswerDesk
from recado.journey.answer.drafting import OVER_BUDGET, Draft, silent_for

#: A reply is made at most this often for one turn; then it goes, and what came meanwhile is the next turn's.
ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A draft with what it was made in: `spoken` are the notes whose words it was made with."""

    conversation_id: UUID
    turn_id: UUID
    draft: Draft
    spoken: frozenset[UUID]
    round_number: int
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How a turn ends: in a word, whether the contact hears of it, and what its messages are held for."""

    outcome: str
    says: bool
    held_for: HeldFor | None
    period: date
    now: datetime


async def conclude(desk: AnswerDesk, owner_id: UUID, reply: Reply) -> datetime | None:
    """Store the turn in one transaction; or, when the draft is stale, answer when the newest message arrived.

    The words of notes that were given up as late may have come meanwhile: as new as a message. Where the draft goes
    all the same they have a turn that was enqueued with them.
    """
    async with scoped(desk.pool, owner_id) as scope:
        conversation = await conversations.get(scope, reply.conversation_id, lock=True)
        waiting = await messages.pending(scope, reply.conversation_id)
        covered = [message for message in waiting if message.id in reply.draft.covered]
        if not covered:
            return None  # this turn was committed before
        silent = silent_for(conversation)
        late = {message.id for message in covered if message.transcript and message.id not in reply.spoken}
        newer = [message for message in waiting if message.id in late or _is_newer(message, reply)]
        if newer and reply.round_number < ROUNDS and silent is None:
            await happened(
                scope, "answer", "stale", conversation_id=reply.conversation_id, correlation_id=reply.turn_id
            )
            return newer[-1].received_at
        if silent is None:
            covered = [message for message in covered if message.id not in late]
        if covered:
            await _store(scope, reply, conversation, covered, _end(reply, conversation, silent, desk.clock.now()))
    return None


def _is_newer(message: Message, reply: Reply) -> bool:
    """Whether the draft does not know it. A later round has waited for attachments: what is late is the next turn's."""
    return message.id not in reply.draft.covered and (reply.round_number == 1 or not message.awaits_media)


def _end(reply: Reply, conversation: Conversation, silent: HeldFor | None, now: datetime) -> _End:
    outcome, period = reply.draft.outcome if silent is None else "silent", plans.period_of(now)
    return _End(
        outcome=outcome,
        says=silent is None and (outcome != "budget" or conversation.budget_told != period),
        held_for="budget" if outcome == "budget" else silent,
        period=period,
        now=now,
    )


async def _store(scope: Scope, reply: Reply, conversation: Conversation, covered: Sequence[Message], end: _End) -> None:
    """Turn, messages, reply and event; nothing of it waits for an answer, so it is one round trip."""
    newest, draft = covered[-1], reply.draft
    async with scope.conn.pipeline():
        await turns.add(scope, _turn(reply, newest, end))
        await messages.mark_taken(
            scope, [message.id for message in covered], held_for=end.held_for, turn_id=reply.turn_id
        )
        if end.says:
            await _say(scope, reply, newest, end)
        if end.outcome in ("apology", "budget"):
            why = {None: "unanswered", OVER_BUDGET: "budget"}.get(draft.error, "failed")
            await conversations.ask_for_people(scope, conversation.id, why=why)
        if end.outcome == "budget":
            await conversations.tell_of_budget(scope, conversation.id, period=end.period)
        await _tell(scope, reply, covered, end)
        await plans.meter_turn(
            scope,
            tokens=draft.input_tokens + draft.output_tokens,
            money=draft.cost_micros,
            unpriced=None if draft.unpriced_model is None else (draft.unpriced_model, draft.unpriced_tokens),
            now=end.now,
        )


async def _say(scope: Scope, reply: Reply, newest: Message, end: _End) -> None:
    """The text, then the template: deliveries of one moment go in the order of their ids."""
    draft = reply.draft
    if draft.text or draft.template is None:
        await messages.enqueue_outbound(
            scope,
            conversation_id=reply.conversation_id,
            author="system" if end.outcome in ("apology", "budget", "unheard") else "assistant",
            body=draft.text,
            correlation_id=newest.correlation_id,
            reply_to=newest.id,
            turn_id=reply.turn_id,
            now=end.now,
        )
    if draft.template is not None:
        await messages.enqueue_outbound(
            scope,
            conversation_id=reply.conversation_id,
            author="assistant",
            body=draft.template.says,
            correlation_id=newest.correlation_id,
            reply_to=newest.id,
            turn_id=reply.turn_id,
            now=end.now,
            content=draft.template.use,
            kind="template",
        )


async def _tell(scope: Scope, reply: Reply, covered: Sequence[Message], end: _End) -> None:
    newest = covered[-1]
    await happened(
        scope,
        "answer",
        end.outcome,
        conversation_id=reply.conversation_id,
        message_id=newest.id,
        correlation_id=newest.correlation_id,
        duration_s=(end.now - reply.started_at).total_seconds(),
        age_s=(end.now - newest.received_at).total_seconds(),
        outcome=end.outcome,
        messages=len(covered),
        rounds=reply.round_number,
        model=reply.draft.model,
        input_tokens=reply.draft.input_tokens,
        output_tokens=reply.draft.output_tokens,
        cost_micros=reply.draft.cost_micros,
        error=reply.draft.error,
    )


def _turn(reply: Reply, newest: Message, end: _End) -> Turn:
    return Turn(
        id=reply.turn_id,
        conversation_id=reply.conversation_id,
        correlation_id=newest.correlation_id,
        model=reply.draft.model,
        outcome=end.outcome,
        rounds=reply.round_number,
        input_tokens=reply.draft.input_tokens,
        output_tokens=reply.draft.output_tokens,
        cost_micros=reply.draft.cost_micros,
        error=reply.draft.error,
        started_at=reply.started_at,
        finished_at=end.now,
    )
