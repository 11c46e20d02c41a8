"""understand, opt-outs: a turn begins by confirming what the contact asked for with STOP or START, and leaves the rest.

The word itself was heeded when the message was accepted, so that nothing goes out from then on; a turn only says so,
once, in the contact's language, whoever has the conversation. A suspended owner sends nothing, this neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from recado.assistants import assistant as assistants
from recado.assistants import words
from recado.clock import Clock
from recado.conversations import consent_words, conversations, messages, suppressions
from recado.conversations.consent_words import Language
from recado.conversations.conversations import Conversation
from recado.conversations.happenings import happened
from recado.conversations.messages import Message
from recado.conversations.suppressions import Change
from recado.db.pool import Pool, persistently
from recado.db.scope import Scope, scoped

#: What the contact hears once, whatever they said it with.
CONFIRMED: Final[Mapping[Change, Mapping[Language, str]]] = {
    "opted_out": {
        "pt": "Pronto: você não receberá mais mensagens nossas. Se mudar de ideia, escreva VOLTAR.",
        "es": "Listo: no recibirás más mensajes nuestros. Si cambias de opinión, escribe ALTA.",
        "en": "Done: you will get no more messages from us. If you change your mind, write START.",
    },
    "opted_in": {
        "pt": "Pronto: você voltará a receber nossas mensagens. Para parar, escreva SAIR.",
        "es": "Listo: volverás a recibir nuestros mensajes. Para dejar de recibirlos, escribe BAJA.",
        "en": "Done: you will get our messages again. To stop them, write STOP.",
    },
}


async def confirm_opt_outs(
    pool: Pool, clock: Clock, owner_id: UUID, conversation_id: UUID, heard: Sequence[Message], *, asked: bool = True
) -> list[Message]:
    """What is left of `heard` for the assistant. One transaction, idempotent; none where nobody can have `asked`.

    What is said by voice was heeded by nobody yet.
    """
    if not asked and not any(message.kind == "audio" for message in heard):
        return list(heard)

    async def confirm() -> list[Message]:
        async with scoped(pool, owner_id) as scope:
            ids = [message.id for message in heard]
            if any(message.kind == "audio" for message in heard):
                await consent_words.heed_spoken(scope, ids)
            changes = await suppressions.changes(scope, ids)
            if not changes:
                return list(heard)
            conversation = await conversations.get(scope, conversation_id, lock=True)
            waiting = {message.id for message in await messages.pending(scope, conversation_id)}
            left = [message for message in heard if message.id in waiting]
            saying = [message for message in left if message.id in changes]
            if saying:
                await messages.mark_taken(scope, [message.id for message in saying], held_for=None, turn_id=None)
                last = list(changes)[-1]
                newest = next((message for message in saying if message.id == last), None)
                if newest is not None and conversation.owner_status == "active":
                    await _confirm(scope, clock, conversation, newest, changes[last])
            return [message for message in left if message.id not in changes]

    return await persistently(confirm)


async def _confirm(scope: Scope, clock: Clock, conversation: Conversation, message: Message, change: Change) -> None:
    if not await suppressions.may_confirm(scope, conversation.identity_key, message.id, change):
        return
    table = CONFIRMED[change]
    language = await _language(scope, conversation, message)
    confirmation_id = await messages.enqueue_outbound(
        scope,
        conversation_id=conversation.id,
        author="system",
        body=next((text for known, text in table.items() if known == language), table["en"]),
        correlation_id=message.correlation_id,
        reply_to=message.id,
        now=clock.now(),
    )
    if change == "opted_out":
        await suppressions.let_through(scope, conversation.identity_key, confirmation_id)
    await happened(
        scope,
        "answer",
        "consent_confirmed",
        conversation_id=conversation.id,
        message_id=message.id,
        correlation_id=message.correlation_id,
        change=change,
    )


async def _language(scope: Scope, conversation: Conversation, message: Message) -> str:
    """The contact's language where it is known; else the word's, that of what they said before, the assistant's."""
    if conversation.contact_language is not None:
        return conversation.contact_language
    if (told := consent_words.language_of(message.body)) is not None:
        return told
    before = await messages.history(scope, conversation.id)
    said = "\n".join(line.body for line in before if line.direction == "inbound")
    return words.detect(said) or (await assistants.for_number(scope, conversation.number_id)).language
