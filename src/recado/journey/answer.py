"""answer: `process_ai_response`, one turn of a conversation.

The queue's lane lets one turn of a conversation run at a time, in order. A turn takes everything that is pending,
has the assistant answer it, and stores reply, delivery, turn and event in one transaction. When the contact spoke
meanwhile, the reply is stale: it is made again, not sent, at most twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from recado.assistants import assistant as assistants
from recado.assistants import keyless, knowledge, prices, run, unheard
from recado.assistants.assistant import Assistant
from recado.assistants.run import Picture, Thought
from recado.channels.port import Sender, SendError
from recado.clock import Clock
from recado.conversations import conversations, events, messages, reading, turns
from recado.conversations.conversations import Conversation
from recado.conversations.media import Media
from recado.conversations.messages import Message
from recado.conversations.reading import Reading
from recado.conversations.turns import Turn
from recado.db.pool import Pool, persistently
from recado.db.scope import Scope, scoped
from recado.errors import RecadoError
from recado.identity import plans
from recado.identity.plans import Budget
from recado.journey import sight
from recado.journey.consent import heed
from recado.journey.understand import listen

log = structlog.get_logger(__name__)

#: A reply is made at most this often for one turn; then it goes, and what came meanwhile is the next turn's.
ROUNDS = 3
#: Twilio shows a typing indicator for 25 s.
TYPING_S = 20.0
#: Why a model that is there did not answer.
OVER_BUDGET = "over budget"

Readings = dict[UUID, Reading]
_SHOWING: set[asyncio.Task[None]] = set()


Think = Callable[..., Awaitable[Thought]]
Step = Callable[[str, Callable[[], Coroutine[Any, Any, dict[str, Any]]]], Awaitable[dict[str, Any]]]


async def _nothing(_media: Sequence[Media]) -> Mapping[UUID, Picture]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDesk:
    """What a turn works with. `step` runs a costly call once, also across a crash; its result is stored.

    `look` gives the pictures of a turn, for a model that sees.
    """

    pool: Pool
    clock: Clock
    quiet_window: timedelta
    default_model: str | None
    model_timeout_s: float
    think: Think
    step: Step
    sender_of: Callable[[UUID, UUID], Awaitable[Sender]]
    look: Callable[[Sequence[Media]], Awaitable[Mapping[UUID, Picture]]] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A reply before it is anyone's: what it answers, what it says, and who made it."""

    covered: tuple[UUID, ...]
    text: str = field(repr=False)
    outcome: str
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced_tokens: int = 0
    unpriced_model: str | None = None
    cost_micros: int = 0
    error: str | None = None

    def after(self, stale: Draft | None) -> Draft:
        """The draft, with what the stale one before it has cost."""
        if stale is None:
            return self
        return replace(
            self,
            input_tokens=self.input_tokens + stale.input_tokens,
            output_tokens=self.output_tokens + stale.output_tokens,
            unpriced_tokens=self.unpriced_tokens + stale.unpriced_tokens,
            unpriced_model=self.unpriced_model or stale.unpriced_model,
            cost_micros=self.cost_micros + stale.cost_micros,
        )


async def process_ai_response(
    desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, turn_id: UUID, *, arrived_at: datetime
) -> None:
    """Answer what is pending in the conversation; nothing pending is nothing to do.

    `turn_id` is the id of the message whose arrival made the turn, and of its workflow. Idempotent: a turn that was
    committed before a crash is not made again.
    """
    since = arrived_at
    stale: Draft | None = None
    for round_number in range(1, ROUNDS + 1):
        heard = await listen(
            desk.pool, desk.clock, desk.quiet_window, owner_id, conversation_id, since=since, again=round_number > 1
        )
        heard = await heed(desk.pool, desk.clock, owner_id, conversation_id, heard)
        if not heard:
            return
        started_at = desk.clock.now()
        draft = (await _draft(desk, owner_id, conversation_id, heard)).after(stale)
        conclude = partial(
            _conclude, desk, owner_id, conversation_id, turn_id, draft, round_number=round_number, started_at=started_at
        )
        newer_at = await persistently(conclude)
        if newer_at is None:
            return
        since, stale = newer_at, draft


async def _draft(desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, heard: list[Message]) -> Draft:
    """A reply to what was heard: by the model if there is one, else by the keyless assistant, else an apology."""

    async def look() -> tuple[Conversation, Assistant, Budget, list[Message], list[knowledge.Match], Readings]:
        async with scoped(desk.pool, owner_id) as scope:
            conversation = await conversations.get(scope, conversation_id)
            assistant = await assistants.for_number(scope, conversation.number_id)
            budget = await plans.budget(scope, desk.clock.now())
            model = assistant.model or desk.default_model
            before = await messages.history(scope, conversation_id) if model else []
            found = (
                await knowledge.search(scope, _words(heard), language=_language(conversation, assistant))
                if model
                else []
            )
            readings = await reading.of(scope, [message.id for message in (*before, *heard)]) if model else {}
            return conversation, assistant, budget, before, found, readings

    conversation, assistant, budget, before, found, readings = await persistently(look)
    if _is_silent(conversation):
        return Draft(covered=tuple(message.id for message in heard), text="", outcome="silent")
    if budget.people_only:
        return _apology(conversation, assistant, heard, outcome="budget", error=OVER_BUDGET)
    if all(map(_unheard, heard)):
        words = unheard.words_for_contact(_language(conversation, assistant))
        return Draft(covered=tuple(message.id for message in heard), text=words, outcome="unheard")
    model = assistant.model or desk.default_model
    if model is None:
        return await _without_model(desk, owner_id, conversation, assistant, heard, error=None)
    if budget.state == "hard":
        return await _without_model(desk, owner_id, conversation, assistant, heard, error=OVER_BUDGET)

    async def think() -> dict[str, Any]:
        """The step: its result says what it covers, so that a replay can't claim what the model never saw."""
        covered = [str(message.id) for message in heard]
        try:
            everything = [readings[message.id] for message in (*before, *heard)]
            seen = await desk.look(sight.worth_showing(everything)) if run.sees(assistant, model) else {}
            thought = await desk.think(
                assistant,
                model=model,
                history=sight.lines(before, readings, seen, document_chars=sight.EARLIER_CHARS),
                pending=sight.lines(heard, readings, seen),
                contact_name=conversation.contact_name,
                now=desk.clock.now(),
                timeout_s=desk.model_timeout_s,
                knowledge=found,
            )
        except RecadoError as error:
            return {"covered": covered, "error": str(error)}
        except Exception as error:  # a fault of ours or of a library must not cost the contact the answer
            log.exception("think_failed", step="answer", conversation_id=conversation_id)
            return {"covered": covered, "error": type(error).__name__}
        return {
            "covered": covered,
            "text": thought.text,
            "model": thought.model,
            "input_tokens": thought.input_tokens,
            "output_tokens": thought.output_tokens,
        }

    async with _typing(desk, owner_id, conversation, heard[-1]):
        result = await desk.step("think", think)
    covered = tuple(UUID(item) for item in result["covered"])
    if "error" in result:
        seen = [message for message in heard if message.id in covered]
        return await _without_model(desk, owner_id, conversation, assistant, seen or heard, error=result["error"])
    tokens = {"input_tokens": result["input_tokens"], "output_tokens": result["output_tokens"]}
    cost = await asyncio.to_thread(prices.cost_micros, result["model"], **tokens, at=desk.clock.now())
    return Draft(
        covered=covered,
        text=result["text"],
        outcome="answered",
        model=result["model"],
        **tokens,
        unpriced_tokens=sum(tokens.values()) if cost is None else 0,
        unpriced_model=result["model"] if cost is None else None,
        cost_micros=cost or 0,
    )


async def _without_model(
    desk: AnswerDesk,
    owner_id: UUID,
    conversation: Conversation,
    assistant: Assistant,
    heard: list[Message],
    *,
    error: str | None,
) -> Draft:
    words = _words(heard)
    language = _language(conversation, assistant)

    async def look() -> str | None:
        async with scoped(desk.pool, owner_id) as scope:
            return await keyless.answer(scope, words, language=language)

    if error is None:
        async with _typing(desk, owner_id, conversation, heard[-1]):
            text = await persistently(look)
    else:
        text = await persistently(look)
    if text is not None:
        text = _with_unheard(text, heard, language)
        return Draft(covered=tuple(message.id for message in heard), text=text, outcome="keyless", error=error)
    return _apology(conversation, assistant, heard, outcome="apology", error=error)


def _apology(
    conversation: Conversation, assistant: Assistant, heard: list[Message], *, outcome: str, error: str | None
) -> Draft:
    language = keyless.detect(_words(heard)) or _language(conversation, assistant)
    sorry = assistant.apology or keyless.words_for_person(language)
    if outcome != "budget":
        sorry = _with_unheard(sorry, heard, language)
    return Draft(covered=tuple(message.id for message in heard), text=sorry, outcome=outcome, error=error)


async def _conclude(
    desk: AnswerDesk,
    owner_id: UUID,
    conversation_id: UUID,
    turn_id: UUID,
    draft: Draft,
    *,
    round_number: int,
    started_at: datetime,
) -> datetime | None:
    """Store the turn in one transaction; or, when the draft is stale, answer when the newest message arrived."""
    async with scoped(desk.pool, owner_id) as scope:
        conversation = await conversations.get(scope, conversation_id, lock=True)
        waiting = await messages.pending(scope, conversation_id)
        covered = [message for message in waiting if message.id in draft.covered]
        if not covered:
            return None  # this turn was committed before
        newer = [
            message
            for message in waiting
            # A later round has waited for attachments already: what is still not there is the next turn's.
            if message.id not in draft.covered and (round_number == 1 or not message.awaits_media)
        ]
        silent = _is_silent(conversation)
        if newer and round_number < ROUNDS and not silent:
            log.info("stale", step="answer", conversation_id=conversation_id, correlation_id=turn_id)
            return newer[-1].received_at
        await _store(scope, desk, conversation, turn_id, draft, covered, silent, round_number, started_at)
    log.info(
        "answered",
        step="answer",
        owner_id=owner_id,
        conversation_id=conversation_id,
        correlation_id=turn_id,
        outcome="silent" if silent else draft.outcome,
        messages=len(covered),
        rounds=round_number,
        error=draft.error,
    )
    return None


async def _store(
    scope: Scope,
    desk: AnswerDesk,
    conversation: Conversation,
    turn_id: UUID,
    draft: Draft,
    covered: list[Message],
    silent: bool,
    round_number: int,
    started_at: datetime,
) -> None:
    now = desk.clock.now()
    conversation_id = conversation.id
    outcome = "silent" if silent else draft.outcome
    held = outcome in ("silent", "budget")
    period = plans.period_of(now)
    says = not silent and (outcome != "budget" or conversation.budget_told != period)
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
        await messages.mark_taken(scope, ids, status="held" if held else "answered", turn_id=turn_id)
        if says:
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
        if outcome in ("apology", "budget"):
            why = {None: "unanswered", OVER_BUDGET: "budget"}.get(draft.error, "failed")
            await conversations.ask_for_people(scope, conversation_id, why=why)
        if outcome == "budget":
            await conversations.tell_of_budget(scope, conversation_id, period=period)
        await events.record(
            scope,
            step="answer",
            what=outcome,
            conversation_id=conversation_id,
            message_id=newest.id,
            correlation_id=newest.correlation_id,
            data={"messages": len(covered), "rounds": round_number, "error": draft.error},
        )
        await plans.meter(scope, "model_tokens", draft.input_tokens + draft.output_tokens, now=now)
        await plans.meter(scope, "money", draft.cost_micros, now=now)
        if draft.unpriced_model is not None:
            await plans.meter_unpriced(scope, draft.unpriced_model, draft.unpriced_tokens, now=now)


@asynccontextmanager
async def _typing(desk: AnswerDesk, owner_id: UUID, conversation: Conversation, newest: Message) -> AsyncIterator[None]:
    """Show the contact that an answer is being written; whatever goes wrong with it, the turn goes on."""
    done = asyncio.Event()

    async def show() -> None:
        try:
            sender = await desk.sender_of(owner_id, conversation.account_id)
            while newest.provider_sid is not None and not done.is_set():
                await sender.typing(newest.provider_sid)
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), TYPING_S)
        except SendError as error:
            log.debug("typing_failed", step="answer", code=error.code)
        except Exception as error:
            log.warning("typing_failed", step="answer", error=type(error).__name__)

    # A call that is under way when the answer is there is left to end by itself: nobody waits for it.
    showing = asyncio.create_task(show())
    _SHOWING.add(showing)
    showing.add_done_callback(_SHOWING.discard)
    try:
        yield
    finally:
        done.set()


def _is_silent(conversation: Conversation) -> bool:
    return conversation.status != "open" or conversation.owner_status != "active" or conversation.suppressed


def _unheard(message: Message) -> bool:
    """A voice note that could not be made text."""
    return message.kind == "audio" and not message.transcript


def _with_unheard(text: str, heard: list[Message], language: str) -> str:
    """The answer to the rest, and that a voice note among it could not be understood: one message says both."""
    return f"{text}\n\n{unheard.words_for_contact(language)}" if any(map(_unheard, heard)) else text


def _words(heard: list[Message]) -> str:
    return "\n".join(said for message in heard if (said := message.transcript or message.body))


def _language(conversation: Conversation, assistant: Assistant) -> str:
    return conversation.contact_language or assistant.language
