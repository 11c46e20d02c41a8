"""answer: `process_ai_response`, one turn of a conversation.

The queue's lane lets one turn of a conversation run at a time, in order. A turn takes everything that is pending,
has the assistant answer it, and stores reply, delivery, turn and event in one transaction. When the contact spoke
meanwhile, the reply is stale: it is made again, not sent, at most twice.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from uuid import UUID

from recado.conversations import conversations, messages, turns
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.holding import HeldFor
from recado.conversations.messages import Message
from recado.conversations.turns import Turn
from recado.db.pool import PASSING, persistently
from recado.db.scope import Scope, scoped
from recado.identity import plans
from recado.journey.answer.caution import InHand, give_up, leave_circles, take_at_once, take_in_hand
from recado.journey.answer.drafting import OVER_BUDGET, AnswerDesk, Draft, EngineFailed, draft_reply, silent_for
from recado.journey.pause import Later
from recado.journey.suspects import put_back
from recado.journey.understand.listen import listen
from recado.journey.understand.opt_outs import confirm_opt_outs

__all__ = ["AnswerDesk", "process_ai_response"]

#: A reply is made at most this often for one turn; then it goes, and what came meanwhile is the next turn's.
ROUNDS = 3


async def process_ai_response(
    desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, turn_id: UUID, *, arrived_at: datetime
) -> None:
    """Answer what is pending in the conversation; nothing pending is nothing to do.

    `turn_id` is the id of the message whose arrival made the turn, and of its workflow. Idempotent: a turn that was
    committed before a crash is not made again. Whatever fails in it ends in an apology, once, and is held for people;
    it raises only what says nothing of the turn: the database or the workflow engine is away, the worker stops, or it
    is to be run later.
    """
    hand = InHand()
    drafts: list[Draft] = []
    heard: set[UUID] = set()
    try:
        async with AsyncExitStack() as stack:
            await _answer(desk, owner_id, conversation_id, turn_id, arrived_at, hand, heard, drafts, stack)
    except (EngineFailed, Later, *PASSING):
        await put_back(desk.pool, owner_id, hand.begun, step="answer")
        raise
    except Exception as error:
        await happened(
            owner_id,
            "answer",
            "turn_failed",
            conversation_id=conversation_id,
            correlation_id=turn_id,
            error=type(error).__name__,
        )
        await give_up(
            desk,
            owner_id,
            conversation_id,
            turn_id,
            heard or None,
            why=type(error).__name__,
            draft=drafts[-1] if drafts else None,
        )
    except BaseException:  # a stop: another worker goes on with it
        await put_back(desk.pool, owner_id, hand.begun, step="answer")
        raise


async def _answer(
    desk: AnswerDesk,
    owner_id: UUID,
    conversation_id: UUID,
    turn_id: UUID,
    arrived_at: datetime,
    hand: InHand,
    taken: set[UUID],
    drafts: list[Draft],
    stack: AsyncExitStack,
) -> None:
    """The turn's rounds; what it has in hand and what it has drafted is left with the caller, however it ends."""
    since = arrived_at
    for round_number in range(1, ROUNDS + 1):
        heard = await listen(
            desk.pool,
            desk.clock,
            desk.quiet_window,
            owner_id,
            conversation_id,
            since=since,
            again=round_number > 1,
            # A reply that was made is in this run alone.
            pause=desk.pause if round_number == 1 else None,
            then=partial(take_at_once, desk=desk, conversation_id=conversation_id, hand=hand)
            if round_number == 1
            else None,
        )
        if round_number == 1 and any(message.starts for message in heard):
            await stack.enter_async_context(desk.suspects.alone())
        heard = await take_in_hand(desk, owner_id, conversation_id, turn_id, heard, hand)
        taken.update(message.id for message in heard)
        heard = await confirm_opt_outs(desk.pool, desk.clock, owner_id, conversation_id, heard, asked=hand.asked)
        if not heard:
            return
        if hand.circles is not None:
            await leave_circles(desk, owner_id, conversation_id, turn_id, heard, hand.circles)
            return
        started_at = desk.clock.now()
        stale = drafts[-1] if drafts else None
        draft = (await draft_reply(desk, owner_id, conversation_id, heard)).after(stale)
        drafts.append(draft)
        conclude = partial(
            _conclude,
            desk,
            owner_id,
            conversation_id,
            turn_id,
            draft,
            spoken={message.id for message in heard if message.transcript},
            round_number=round_number,
            started_at=started_at,
        )
        newer_at = await persistently(conclude)
        if newer_at is None:
            return
        since = newer_at


async def _conclude(
    desk: AnswerDesk,
    owner_id: UUID,
    conversation_id: UUID,
    turn_id: UUID,
    draft: Draft,
    *,
    spoken: set[UUID],
    round_number: int,
    started_at: datetime,
) -> datetime | None:
    """Store the turn in one transaction; or, when the draft is stale, answer when the newest message arrived.

    `spoken` are the notes whose words the draft was made with. The words of others, given up as late, may have come
    meanwhile: as new as a message.
    """
    async with scoped(desk.pool, owner_id) as scope:
        conversation = await conversations.get(scope, conversation_id, lock=True)
        waiting = await messages.pending(scope, conversation_id)
        covered = [message for message in waiting if message.id in draft.covered]
        if not covered:
            return None  # this turn was committed before
        late = {message.id for message in covered if message.transcript and message.id not in spoken}
        newer = [
            message
            for message in waiting
            # A later round has waited for attachments already: what is still not there is the next turn's.
            if message.id in late
            or (message.id not in draft.covered and (round_number == 1 or not message.awaits_media))
        ]
        silent = silent_for(conversation)
        if newer and round_number < ROUNDS and silent is None:
            await happened(scope, "answer", "stale", conversation_id=conversation_id, correlation_id=turn_id)
            return newer[-1].received_at
        if late and silent is None:
            # Its words have a turn that was enqueued with them.
            covered = [message for message in covered if message.id not in late]
            if not covered:
                return None
        await _store(scope, desk, conversation, turn_id, draft, covered, silent, round_number, started_at)
    return None


async def _store(
    scope: Scope,
    desk: AnswerDesk,
    conversation: Conversation,
    turn_id: UUID,
    draft: Draft,
    covered: list[Message],
    silent: HeldFor | None,
    round_number: int,
    started_at: datetime,
) -> None:
    now = desk.clock.now()
    conversation_id = conversation.id
    outcome = draft.outcome if silent is None else "silent"
    held_for = "budget" if outcome == "budget" else silent
    period = plans.period_of(now)
    says = silent is None and (outcome != "budget" or conversation.budget_told != period)
    newest = covered[-1]
    turn = Turn(
        id=turn_id,
        conversation_id=conversation_id,
        correlation_id=newest.correlation_id,
        model=draft.model,
        outcome=outcome,
        rounds=round_number,
        input_tokens=draft.input_tokens,
        output_tokens=draft.output_tokens,
        cost_micros=draft.cost_micros,
        error=draft.error,
        started_at=started_at,
        finished_at=now,
    )
    ids = [message.id for message in covered]
    async with scope.conn.pipeline():  # nothing of it waits for an answer: one round trip
        await turns.add(scope, turn)
        await messages.mark_taken(scope, ids, held_for=held_for, turn_id=turn_id)
        if says and (draft.text or draft.template is None):
            await messages.enqueue_outbound(
                scope,
                conversation_id=conversation_id,
                author="system" if outcome in ("apology", "budget", "unheard") else "assistant",
                body=draft.text,
                correlation_id=newest.correlation_id,
                reply_to=newest.id,
                turn_id=turn_id,
                now=now,
            )
        if says and draft.template is not None:
            # After the text, whose id is smaller: deliveries of one moment go in the order of their ids.
            await messages.enqueue_outbound(
                scope,
                conversation_id=conversation_id,
                author="assistant",
                body=draft.template.says,
                correlation_id=newest.correlation_id,
                reply_to=newest.id,
                turn_id=turn_id,
                now=now,
                content=draft.template.use,
                kind="template",
            )
        if outcome in ("apology", "budget"):
            why = {None: "unanswered", OVER_BUDGET: "budget"}.get(draft.error, "failed")
            await conversations.ask_for_people(scope, conversation_id, why=why)
        if outcome == "budget":
            await conversations.tell_of_budget(scope, conversation_id, period=period)
        await happened(
            scope,
            "answer",
            outcome,
            conversation_id=conversation_id,
            message_id=newest.id,
            correlation_id=newest.correlation_id,
            duration_s=(now - started_at).total_seconds(),
            age_s=(now - newest.received_at).total_seconds(),
            outcome=outcome,
            messages=len(covered),
            rounds=round_number,
            model=draft.model,
            error=draft.error,
        )
        await plans.meter_turn(
            scope,
            tokens=draft.input_tokens + draft.output_tokens,
            money=draft.cost_micros,
            unpriced=None if draft.unpriced_model is None else (draft.unpriced_model, draft.unpriced_tokens),
            now=now,
        )
