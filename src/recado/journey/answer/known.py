"""answer, what is known: all that a draft is made from, read in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from recado.assistants import assistant as assistants
from recado.assistants import knowledge
from recado.assistants.assistant import Assistant
from recado.conversations import conversations, messages, reading, templates
from recado.conversations.conversations import Conversation
from recado.conversations.messages import Message
from recado.conversations.reading import Reading
from recado.conversations.templates import Template
from recado.db.scope import Scope, scoped
from recado.identity import plans
from recado.identity.plans import Budget
from recado.journey.answer.desk import AnswerDesk
from recado.journey.understand.language import spoken, with_contact_language


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a draft is made from; of what only a model needs, nothing where there is none."""

    conversation: Conversation
    assistant: Assistant
    budget: Budget
    heard: list[Message]
    before: list[Message]
    found: list[knowledge.Match]
    readings: dict[UUID, Reading]
    approved: list[Template]

    @property
    def language(self) -> str:
        """The language to speak to the contact in."""
        return spoken(self.conversation, self.assistant)


async def read_known(desk: AnswerDesk, owner_id: UUID, conversation_id: UUID, heard: list[Message]) -> Known:
    """What is known of the conversation in which that was heard."""
    async with scoped(desk.pool, owner_id) as scope:
        conversation = await desk.recall(scope, await conversations.get(scope, conversation_id))
        conversation = await with_contact_language(scope, conversation, heard)
        assistant = await assistants.for_number(scope, conversation.number_id)
        known = Known(
            conversation=conversation,
            assistant=assistant,
            budget=await plans.budget(scope, desk.clock.now()),
            heard=heard,
            before=[],
            found=[],
            readings={},
            approved=[],
        )
        return known if (assistant.model or desk.default_model) is None else await _for_a_model(scope, known)


async def _for_a_model(scope: Scope, known: Known) -> Known:
    before = await messages.history(scope, known.conversation.id)
    return replace(
        known,
        before=before,
        found=await knowledge.search(scope, words_of(known.heard), language=known.language),
        readings=await reading.of(scope, [message.id for message in (*before, *known.heard)]),
        approved=await templates.approved(scope, known.conversation.account_id) if known.assistant.templates else [],
    )


def words_of(heard: list[Message]) -> str:
    """What the contact wrote and said, a line a message."""
    return "\n".join(said for message in heard if (said := message.transcript or message.body))


def is_unheard(message: Message) -> bool:
    """Whether it is a voice note that could not be made text."""
    return message.kind == "audio" and not message.transcript
