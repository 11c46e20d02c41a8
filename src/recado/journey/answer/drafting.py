"""What makes a Draft: the reply that an assistant, or what stands in for it, would give to what was heard.

Nothing is stored here: `concluding` decides whether the draft becomes the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from recado.assistants import keyless, prices, unheard
from recado.assistants.tools import Chosen
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.holding import HeldFor
from recado.conversations.messages import Message
from recado.db.pool import persistently
from recado.db.scope import scoped
from recado.journey.answer.desk import AnswerDesk
from recado.journey.answer.known import Known, is_unheard, read_known, words_of
from recado.journey.answer.thinking import chosen_in, covered_by, think
from recado.journey.answer.typing_sign import typing_shown

#: Why a model that is there did not answer: a limit of the plan is reached, or the owner chose a model without a price
#: while the plan has a limit in money.
OVER_BUDGET, UNPRICED = "over budget", "model without a price"


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


async def draft_reply(desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, heard: list[Message]) -> Draft:
    """A reply to what was heard: by the model if there is one, else by the keyless assistant, else an apology."""
    known = await persistently(partial(read_known, desk, owner_id, conversation_id, heard))
    if silent_for(known.conversation) is not None:
        return _draft(heard, "", "silent")
    if known.budget.people_only:
        return _apology(known, heard, outcome="budget", error=OVER_BUDGET)
    if all(map(is_unheard, heard)):
        return _draft(heard, unheard.words_for_contact(known.language), "unheard")
    model, why_not = await _model_to_ask(desk, owner_id, known)
    if model is None:
        return await _without_model(desk, owner_id, known, heard, error=why_not)
    return await _by_model(desk, owner_id, known, model)


def silent_for(conversation: Conversation) -> HeldFor | None:
    """Why nobody but people may answer in this conversation now, None when the assistant may."""
    if conversation.owner_status != "active":
        return "owner"
    if conversation.suppressed:
        return "opted_out"
    return None if conversation.status == "open" else "people"


def _draft(heard: list[Message], text: str, outcome: str, *, error: str | None = None) -> Draft:
    return Draft(covered=tuple(message.id for message in heard), text=text, outcome=outcome, error=error)


async def _model_to_ask(desk: AnswerDesk, owner_id: UUID, known: Known) -> tuple[str | None, str | None]:
    """The model; or None, and why one that is there is not asked."""
    model = known.assistant.model or desk.default_model
    if model is None:
        return None, None
    if known.budget.state == "hard":
        return None, OVER_BUDGET
    if known.budget.limits_money and model != desk.default_model and not await _has_price(desk, model):
        await happened(owner_id, "answer", "model_without_price", conversation_id=known.conversation.id, model=model)
        return None, UNPRICED
    return model, None


async def _by_model(desk: AnswerDesk, owner_id: UUID, known: Known, model: str) -> Draft:
    """What the model says; where it fails, what is said without one, and what it has cost."""
    heard = known.heard
    async with typing_shown(desk, owner_id, known.conversation, heard[-1]):
        result = await desk.step("think", partial(think, desk, owner_id, known, model))
    covered = covered_by(result, heard)
    answered = [message for message in heard if message.id in covered]
    if "error" in result:
        draft = await _without_model(desk, owner_id, known, answered or heard, error=result["error"])
        return await _charged(desk, draft, model, result)
    draft = Draft(
        covered=covered,
        text=_with_unheard(result["text"], answered, known.language),
        outcome="answered",
        model=result["model"],
        template=chosen_in(result),
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


async def _without_model(
    desk: AnswerDesk, owner_id: UUID, known: Known, heard: list[Message], *, error: str | None
) -> Draft:
    """What the keyless assistant is sure of, else an apology; `error` is why no model answered that is there."""

    async def look_up() -> str | None:
        async with scoped(desk.pool, owner_id) as scope:
            return await keyless.answer(scope, words_of(heard), language=known.language)

    if error is None:
        async with typing_shown(desk, owner_id, known.conversation, heard[-1]):
            text = await persistently(look_up)
    else:
        text = await persistently(look_up)
    if text is None:
        return _apology(known, heard, outcome="apology", error=error)
    return _draft(heard, _with_unheard(text, heard, known.language), "keyless", error=error)


def _apology(known: Known, heard: list[Message], *, outcome: str, error: str | None) -> Draft:
    language = keyless.detect(words_of(heard)) or known.language
    sorry = known.assistant.apology or keyless.words_for_person(language)
    if outcome != "budget":
        sorry = _with_unheard(sorry, heard, language)
    return _draft(heard, sorry, outcome, error=error)


def _with_unheard(text: str, heard: list[Message], language: str) -> str:
    """The answer to the rest, and that a voice note among it could not be understood: one message says both."""
    if not any(map(is_unheard, heard)):
        return text
    return "\n\n".join(part for part in (text, unheard.words_for_contact(language)) if part)
