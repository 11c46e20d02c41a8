"""answer, the costly step: a model is asked, once, also across a crash; what it came to is plain data to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from recado import tracing
from recado.assistants import run
from recado.assistants.run import ModelFailed, Thought
from recado.assistants.tools import Chosen, Offer, Offered, bounded
from recado.conversations import templates
from recado.conversations.happenings import happened
from recado.conversations.messages import Message
from recado.db.pool import persistently
from recado.db.scope import scoped
from recado.delivery.content import TemplateUse
from recado.errors import RecadoError
from recado.journey.answer import sight
from recado.journey.answer.desk import AnswerDesk
from recado.journey.answer.known import Known, is_unheard


async def think(desk: AnswerDesk, owner_id: UUID, known: Known, model: str) -> dict[str, Any]:
    """Ask the model; what it came to says what it covers, so that a replay can't claim what the model never saw.

    Where it came to nothing that has `error`, with what was used all the same; nothing is raised.
    """
    covered = [str(message.id) for message in known.heard]
    try:
        thought = await _ask(desk, owner_id, known, model)
    except ModelFailed as error:
        return {"covered": covered, "error": str(error), **asdict(error.used)}
    except RecadoError as error:
        return {"covered": covered, "error": str(error)}
    except Exception as error:  # a fault of ours or of a library must not cost the contact the answer
        why = type(error).__name__
        await happened(owner_id, "answer", "think_failed", conversation_id=known.conversation.id, error=why)
        return {"covered": covered, "error": why}
    return {
        "covered": covered,
        "deaf_to": [str(message.id) for message in known.heard if is_unheard(message)],
        "text": thought.text,
        "model": thought.model,
        "input_tokens": thought.input_tokens,
        "output_tokens": thought.output_tokens,
        "template": None if thought.template is None else _to_json(thought.template),
    }


async def _ask(desk: AnswerDesk, owner_id: UUID, known: Known, model: str) -> Thought:
    everything = [known.readings[message.id] for message in (*known.before, *known.heard)]
    seen = await desk.pictures_of(sight.worth_showing(everything)) if run.sees(known.assistant, model) else {}
    trace = known.heard[-1].correlation_id
    with tracing.span(trace, "model", parent=("answer", trace), model=model):
        return await desk.think(
            known.assistant,
            model=model,
            history=sight.lines(known.before, known.readings, seen, document_chars=sight.EARLIER_CHARS),
            pending=sight.lines(known.heard, known.readings, seen),
            contact_name=known.conversation.contact_name,
            now=desk.clock.now(),
            timeout_s=desk.model_timeout_s,
            knowledge=known.found,
            offer=_offer(desk, owner_id, known),
        )


def covered_by(result: Mapping[str, Any], heard: list[Message]) -> tuple[UUID, ...]:
    """The messages that it covers; of a replay none whose words, those of a note, have come since."""
    now_heard = {str(message.id) for message in heard if not is_unheard(message)}
    missed = now_heard.intersection(result.get("deaf_to", ()))
    return tuple(UUID(item) for item in result["covered"] if item not in missed)


def chosen_in(result: Mapping[str, Any]) -> Chosen | None:
    """The template that the model chose, if it chose one."""
    stored = result.get("template")
    if stored is None:
        return None
    use = TemplateUse(content_sid=stored["content_sid"], variables=stored["variables"])
    return Chosen(use=use, says=stored["says"])


def _to_json(chosen: Chosen) -> dict[str, Any]:
    return {"content_sid": chosen.use.content_sid, "variables": dict(chosen.use.variables), "says": chosen.says}


def _offer(desk: AnswerDesk, owner_id: UUID, known: Known) -> Offer | None:
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
            for one in known.approved
        ),
        language=known.language,
    )

    async def check(content_sid: str, variables: Mapping[str, str]) -> Chosen:
        async def use() -> Chosen:
            async with scoped(desk.pool, owner_id) as scope:
                use, says = await templates.use(scope, known.conversation.account_id, content_sid, variables)
                return Chosen(use=use, says=says)

        return await persistently(use)

    return Offer(templates=offered, check=check) if offered else None
