"""The contact's language: what people say it is, else what the contact surely writes in, else the assistant's.

Voice notes are listened for in it, and what is said without a model is said in it. A transcript tells nothing: it is in
whatever language was listened for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recado.assistants import words
from recado.assistants.assistant import Assistant
from recado.conversations import contacts, messages
from recado.conversations.conversations import Conversation
from recado.conversations.messages import Message
from recado.db.scope import Scope


def spoken(conversation: Conversation, assistant: Assistant) -> str:
    """The language to speak to the contact in, and to listen for, by its two letters."""
    return (conversation.contact_language or assistant.language).partition("-")[0].lower()


async def learn(scope: Scope, conversation: Conversation, heard: Sequence[Message] | None = None) -> Conversation:
    """The conversation, its contact's language as what they wrote last tells it, which is kept where that is sure.

    With `heard` nothing is read where these messages tell nothing new.
    """
    known = conversation.contact_language
    if conversation.contact_language_why == "people":
        return conversation
    if heard is not None and all(
        words.detect(message.body) in (known, None) for message in heard if message.kind in messages.WRITTEN
    ):
        return conversation
    told = words.written_in(await messages.written(scope, conversation.id))
    if told in (known, None) or not await contacts.learn_language(scope, conversation.contact_id, told):
        return conversation
    return replace(conversation, contact_language=told, contact_language_why="written")
