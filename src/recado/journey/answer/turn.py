"""answer: `process_ai_response`, one turn of a conversation.

The queue's lane lets one turn of a conversation run at a time, in order. A turn takes everything that is pending,
has the assistant answer it, and stores reply, delivery, turn and event in one transaction. When the contact spoke
meanwhile, the reply is stale: it is made again, not sent, at most twice.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from uuid import UUID

from recado.conversations.happenings import happened
from recado.conversations.messages import Message
from recado.db.pool import PASSING, persistently
from recado.journey.answer.caution import InHand, give_up, leave_circles, take_at_once, take_in_hand
from recado.journey.answer.concluding import ROUNDS, Reply, conclude
from recado.journey.answer.desk import AnswerDesk, EngineFailed
from recado.journey.answer.drafting import Draft, draft_reply
from recado.journey.pause import Later
from recado.journey.suspects import put_back
from recado.journey.understand.listen import listen
from recado.journey.understand.opt_outs import confirm_opt_outs

__all__ = ["AnswerDesk", "process_ai_response"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run of a turn: whose it is; and what it has in hand, has taken and drafted, however it ends."""

    desk: AnswerDesk
    owner_id: UUID
    conversation_id: UUID
    turn_id: UUID
    hand: InHand = field(default_factory=InHand)
    taken: set[UUID] = field(default_factory=set)
    drafts: list[Draft] = field(default_factory=list)


async def process_ai_response(
    desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, turn_id: UUID, *, arrived_at: datetime
) -> None:
    """Answer what is pending in the conversation; nothing pending is nothing to do.

    `turn_id` is the id of the message whose arrival made the turn, and of its workflow. Idempotent: a turn that was
    committed before a crash is not made again. Whatever fails in it ends in an apology, once, and is held for people;
    it raises only what says nothing of the turn: the database or the workflow engine is away, the worker stops, or it
    is to be run later.
    """
    run = _Run(desk=desk, owner_id=owner_id, conversation_id=conversation_id, turn_id=turn_id)
    try:
        async with AsyncExitStack() as stack:
            await _answer(run, arrived_at, stack)
    except (EngineFailed, Later, *PASSING):
        await put_back(desk.pool, owner_id, run.hand.begun, step="answer")
        raise
    except Exception as error:
        await _break_off(run, error)
    except BaseException:  # a stop: another worker goes on with it
        await put_back(desk.pool, owner_id, run.hand.begun, step="answer")
        raise


async def _answer(run: _Run, since: datetime, stack: AsyncExitStack) -> None:
    """The turn's rounds: listen, draft, and store what was drafted unless it is stale by then."""
    for round_number in range(1, ROUNDS + 1):
        heard = await _hear(run, since, round_number, stack)
        if not heard:
            return
        if run.hand.circles is not None:
            await leave_circles(run.desk, run.owner_id, run.conversation_id, run.turn_id, heard, run.hand.circles)
            return
        reply = await _draft(run, heard, round_number)
        newer_at = await persistently(partial(conclude, run.desk, run.owner_id, reply))
        if newer_at is None:
            return
        since = newer_at


async def _hear(run: _Run, since: datetime, round_number: int, stack: AsyncExitStack) -> list[Message]:
    """What is to be answered, in hand, once the contact is quiet; without what is broken, and what was STOP or START.

    Of the first round alone the slot is given back for a long wait: a reply that was made is in this run alone.
    """
    desk, first = run.desk, round_number == 1
    heard = await listen(
        desk.pool,
        desk.clock,
        desk.quiet_window,
        run.owner_id,
        run.conversation_id,
        since=since,
        again=not first,
        pause=desk.pause if first else None,
        then=partial(take_at_once, desk=desk, conversation_id=run.conversation_id, hand=run.hand) if first else None,
    )
    if first and any(message.starts for message in heard):
        await stack.enter_async_context(desk.suspects.alone())
    heard = await take_in_hand(desk, run.owner_id, run.conversation_id, run.turn_id, heard, run.hand)
    run.taken.update(message.id for message in heard)
    return await confirm_opt_outs(desk.pool, desk.clock, run.owner_id, run.conversation_id, heard, asked=run.hand.asked)


async def _draft(run: _Run, heard: list[Message], round_number: int) -> Reply:
    """A draft, with what those before it have cost."""
    started_at = run.desk.clock.now()
    stale = run.drafts[-1] if run.drafts else None
    draft = (await draft_reply(run.desk, run.owner_id, run.conversation_id, heard)).after(stale)
    run.drafts.append(draft)
    return Reply(
        conversation_id=run.conversation_id,
        turn_id=run.turn_id,
        draft=draft,
        spoken=frozenset(message.id for message in heard if message.transcript),
        round_number=round_number,
        started_at=started_at,
    )


async def _break_off(run: _Run, error: Exception) -> None:
    """Hold what the turn has taken for people, and apologise once."""
    why = type(error).__name__
    await happened(
        run.owner_id,
        "answer",
        "turn_failed",
        conversation_id=run.conversation_id,
        correlation_id=run.turn_id,
        error=why,
    )
    await give_up(
        run.desk,
        run.owner_id,
        run.conversation_id,
        run.turn_id,
        run.taken or None,
        why=why,
        draft=run.drafts[-1] if run.drafts else None,
    )
