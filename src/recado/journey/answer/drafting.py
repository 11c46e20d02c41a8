"""What makes a Draft: the reply that an assistant, or what stands in for it, would give to what was heard.

Nothing is stored here: `recado.journey.answer.turn` decides whether the draft becomes the reply.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from recado.assistants import assistant as assistants
from recado.assistants import keyless, knowledge, prices, run, unheard
from recado.assistants.assistant import Assistant
from recado.assistants.run import ModelFailed, Picture, Thought
from recado.assistants.tools import Chosen, Offer, Offered, bounded
from recado.channels.port import Sender, SendError
from recado.clock import Clock
from recado.conversations import conversations, messages, reading, templates
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.holding import HeldFor
from recado.conversations.media import Media
from recado.conversations.messages import Message
from recado.conversations.reading import Reading
from recado.conversations.templates import Template
from recado.db.pool import Pool, persistently
from recado.db.scope import scoped
from recado.delivery.content import TemplateUse
from recado.errors import RecadoError
from recado.identity import plans
from recado.identity.plans import Budget
from recado.journey.answer import sight
from recado.journey.suspects import Suspects
from recado.journey.understand.language import spoken, with_contact_language

#: Twilio shows a typing indicator for 25 s.
TYPING_S = 20.0
#: Calls for it that may be under way, for one owner and for all; nobody waits for one, so they could gather.
CALLS_EACH, CALLS = 8, 32
#: Why a model that is there did not answer: a limit of the plan is reached, or the owner chose a model without a price
#: while the plan has a limit in money.
OVER_BUDGET, UNPRICED = "over budget", "model without a price"

Readings = dict[UUID, Reading]
_SHOWING: set[asyncio.Task[None]] = set()
_CALLING: Counter[UUID] = Counter()

Think = Callable[..., Awaitable[Thought]]
Step = Callable[[str, Callable[[], Coroutine[Any, Any, dict[str, Any]]]], Awaitable[dict[str, Any]]]


async def _nothing(_media: Sequence[Media]) -> Mapping[UUID, Picture]:
    return {}


class EngineFailed(Exception):
    """The workflow engine could not do or record a step; that says nothing of the turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDesk:
    """What a turn works with. `step` runs a costly call once, also across a crash; its result is stored.

    `pictures_of` gives the pictures of a turn, for a model that sees. `turns_per_hour` is how many may answer in a
    conversation before it goes to people, 0 for any number. `pause` waits for a long quiet window to end, or raises
    what gives the slot back meanwhile (`journey/pause`).
    """

    pool: Pool
    clock: Clock
    quiet_window: timedelta
    default_model: str | None
    model_timeout_s: float
    think: Think
    step: Step
    sender_of: Callable[[UUID, UUID], Awaitable[Sender]]
    pictures_of: Callable[[Sequence[Media]], Awaitable[Mapping[UUID, Picture]]] = _nothing
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    turns_per_hour: int = 60
    suspects: Suspects = field(default_factory=Suspects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A reply before it is anyone's: what it answers, what it says, and who made it.

    `template` goes out behind the text, which may then be empty.
    """

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
    template: Chosen | None = None

    def after(self, stale: Draft | None) -> Draft:
        """The draft, with what the stale one before it has cost; nothing else of that one counts."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a draft is made from; of what only a model needs, nothing where there is none."""

    conversation: Conversation
    assistant: Assistant
    budget: Budget
    before: list[Message]
    found: list[knowledge.Match]
    readings: Readings
    approved: list[Template]


async def draft_reply(desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, heard: list[Message]) -> Draft:
    """A reply to what was heard: by the model if there is one, else by the keyless assistant, else an apology."""

    async def look() -> _Known:
        async with scoped(desk.pool, owner_id) as scope:
            conversation = await with_contact_language(scope, await conversations.get(scope, conversation_id), heard)
            assistant = await assistants.for_number(scope, conversation.number_id)
            budget = await plans.budget(scope, desk.clock.now())
            model = assistant.model or desk.default_model
            before = await messages.history(scope, conversation_id) if model else []
            found = (
                await knowledge.search(scope, _words(heard), language=spoken(conversation, assistant)) if model else []
            )
            readings = await reading.of(scope, [message.id for message in (*before, *heard)]) if model else {}
            offered = await templates.approved(scope, conversation.account_id) if model and assistant.templates else []
            return _Known(
                conversation=conversation,
                assistant=assistant,
                budget=budget,
                before=before,
                found=found,
                readings=readings,
                approved=offered,
            )

    known = await persistently(look)
    conversation, assistant, budget = known.conversation, known.assistant, known.budget
    if silent_for(conversation) is not None:
        return Draft(covered=tuple(message.id for message in heard), text="", outcome="silent")
    if budget.people_only:
        return _apology(conversation, assistant, heard, outcome="budget", error=OVER_BUDGET)
    if all(map(_unheard, heard)):
        words = unheard.words_for_contact(spoken(conversation, assistant))
        return Draft(covered=tuple(message.id for message in heard), text=words, outcome="unheard")
    model = assistant.model or desk.default_model
    if model is None:
        return await _without_model(desk, owner_id, conversation, assistant, heard, error=None)
    if budget.state == "hard":
        return await _without_model(desk, owner_id, conversation, assistant, heard, error=OVER_BUDGET)
    if budget.limits_money and model != desk.default_model and not await _has_price(desk, model):
        await happened(owner_id, "answer", "model_without_price", conversation_id=conversation_id, model=model)
        return await _without_model(desk, owner_id, conversation, assistant, heard, error=UNPRICED)

    async def think() -> dict[str, Any]:
        """The step: its result says what it covers, so that a replay can't claim what the model never saw."""
        covered = [str(message.id) for message in heard]
        try:
            everything = [known.readings[message.id] for message in (*known.before, *heard)]
            seen = await desk.pictures_of(sight.worth_showing(everything)) if run.sees(assistant, model) else {}
            thought = await desk.think(
                assistant,
                model=model,
                history=sight.lines(known.before, known.readings, seen, document_chars=sight.EARLIER_CHARS),
                pending=sight.lines(heard, known.readings, seen),
                contact_name=conversation.contact_name,
                now=desk.clock.now(),
                timeout_s=desk.model_timeout_s,
                knowledge=known.found,
                offer=_offer(desk, owner_id, conversation, assistant, known.approved),
            )
        except ModelFailed as error:
            return {"covered": covered, "error": str(error), **asdict(error.used)}
        except RecadoError as error:
            return {"covered": covered, "error": str(error)}
        except Exception as error:  # a fault of ours or of a library must not cost the contact the answer
            await happened(
                owner_id, "answer", "think_failed", conversation_id=conversation_id, error=type(error).__name__
            )
            return {"covered": covered, "error": type(error).__name__}
        return {
            "covered": covered,
            "deaf_to": [str(message.id) for message in heard if _unheard(message)],
            "text": thought.text,
            "model": thought.model,
            "input_tokens": thought.input_tokens,
            "output_tokens": thought.output_tokens,
            "template": None if thought.template is None else _chosen_to_json(thought.template),
        }

    async with _typing(desk, owner_id, conversation, heard[-1]):
        result = await desk.step("think", think)
    # Of a replay: a note whose words have come since was not covered.
    now_heard = {str(message.id) for message in heard if not _unheard(message)}
    missed = now_heard.intersection(result.get("deaf_to", ()))
    covered = tuple(UUID(item) for item in result["covered"] if item not in missed)
    answered = [message for message in heard if message.id in covered]
    if "error" in result:
        draft = await _without_model(desk, owner_id, conversation, assistant, answered or heard, error=result["error"])
        return await _charged(desk, draft, model, result)
    draft = Draft(
        covered=covered,
        text=_with_unheard(result["text"], answered, spoken(conversation, assistant)),
        outcome="answered",
        model=result["model"],
        template=_chosen_from_json(result.get("template")),
    )
    return await _charged(desk, draft, result["model"], result)


async def _has_price(desk: AnswerDesk, model: str) -> bool:
    return await _cost(desk, model, input_tokens=0, output_tokens=0) is not None


async def _cost(desk: AnswerDesk, model: str, *, input_tokens: int, output_tokens: int) -> int | None:
    ask = partial(
        prices.cost_micros, model, input_tokens=input_tokens, output_tokens=output_tokens, at=desk.clock.now()
    )
    return ask() if prices.at_hand() else await asyncio.to_thread(ask)


async def _charged(desk: AnswerDesk, draft: Draft, model: str, used: Mapping[str, Any]) -> Draft:
    """The draft with what the model used, also where that came to nothing: the provider charges for it all the same."""
    tokens = {"input_tokens": used.get("input_tokens", 0), "output_tokens": used.get("output_tokens", 0)}
    if not any(tokens.values()):
        return draft
    cost = await _cost(desk, model, **tokens)
    return replace(
        draft,
        **tokens,
        unpriced_tokens=sum(tokens.values()) if cost is None else 0,
        unpriced_model=model if cost is None else None,
        cost_micros=cost or 0,
    )


def _offer(
    desk: AnswerDesk, owner_id: UUID, conversation: Conversation, assistant: Assistant, approved: list[Template]
) -> Offer | None:
    """What the model may choose from; None where it may not, or there is nothing."""
    offered = bounded(
        (
            Offered(
                content_sid=one.content_sid,
                name=one.name,
                language=one.language,
                body=one.body,
                variables=tuple(one.variables),
            )
            for one in approved
        ),
        language=spoken(conversation, assistant),
    )

    async def check(content_sid: str, variables: Mapping[str, str]) -> Chosen:
        async def use() -> Chosen:
            async with scoped(desk.pool, owner_id) as scope:
                use, says = await templates.use(scope, conversation.account_id, content_sid, variables)
                return Chosen(use=use, says=says)

        return await persistently(use)

    return Offer(templates=offered, check=check) if offered else None


def _chosen_to_json(chosen: Chosen) -> dict[str, Any]:
    return {"content_sid": chosen.use.content_sid, "variables": dict(chosen.use.variables), "says": chosen.says}


def _chosen_from_json(stored: Mapping[str, Any] | None) -> Chosen | None:
    if stored is None:
        return None
    use = TemplateUse(content_sid=stored["content_sid"], variables=stored["variables"])
    return Chosen(use=use, says=stored["says"])


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
    language = spoken(conversation, assistant)

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
    language = keyless.detect(_words(heard)) or spoken(conversation, assistant)
    sorry = assistant.apology or keyless.words_for_person(language)
    if outcome != "budget":
        sorry = _with_unheard(sorry, heard, language)
    return Draft(covered=tuple(message.id for message in heard), text=sorry, outcome=outcome, error=error)


@asynccontextmanager
async def _typing(desk: AnswerDesk, owner_id: UUID, conversation: Conversation, newest: Message) -> AsyncIterator[None]:
    """Show the contact that an answer is being written; whatever goes wrong with it, the turn goes on."""
    done = asyncio.Event()

    async def show() -> None:
        try:
            sender = await desk.sender_of(owner_id, conversation.account_id)
            while newest.provider_sid is not None and not done.is_set():
                await _show_typing(sender, owner_id, newest.provider_sid)
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), TYPING_S)
        except SendError as error:
            await happened(owner_id, "answer", "typing_failed", conversation_id=conversation.id, code=error.code)
        except Exception as error:
            await happened(
                owner_id, "answer", "typing_broke", conversation_id=conversation.id, error=type(error).__name__
            )

    # A call that is under way when the answer is there is left to end by itself: nobody waits for it.
    showing = asyncio.create_task(show())
    _SHOWING.add(showing)
    showing.add_done_callback(_SHOWING.discard)
    try:
        yield
    finally:
        done.set()


async def _show_typing(sender: Sender, owner_id: UUID, message_sid: str) -> None:
    """Have it shown, unless many such calls are under way: deliveries go by the same connections."""
    if _CALLING[owner_id] >= CALLS_EACH or _CALLING.total() >= CALLS:
        return
    _CALLING[owner_id] += 1
    try:
        await sender.typing(message_sid)
    finally:
        _CALLING[owner_id] -= 1
        if not _CALLING[owner_id]:
            del _CALLING[owner_id]


def silent_for(conversation: Conversation) -> HeldFor | None:
    """Why nobody but people may answer in this conversation now, None when the assistant may."""
    if conversation.owner_status != "active":
        return "owner"
    if conversation.suppressed:
        return "opted_out"
    return None if conversation.status == "open" else "people"


def _unheard(message: Message) -> bool:
    """A voice note that could not be made text."""
    return message.kind == "audio" and not message.transcript


def _with_unheard(text: str, heard: list[Message], language: str) -> str:
    """The answer to the rest, and that a voice note among it could not be understood: one message says both."""
    if not any(map(_unheard, heard)):
        return text
    return "\n\n".join(part for part in (text, unheard.words_for_contact(language)) if part)


def _words(heard: list[Message]) -> str:
    return "\n".join(said for message in heard if (said := message.transcript or message.body))
