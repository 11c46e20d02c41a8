"""The contact's language: what people say it is, else what the contact surely writes in, else the assistant's.

What is said without a model is said in it. A voice note may be in another one: it is heard in the language that fits it
best, of those that the assistants speak, and the contact's is the likeliest before. A transcript tells nothing of the
contact's language: it is in whatever language was listened for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recado.assistants import words
from recado.assistants.assistant import LANGUAGES, Assistant
from recado.conversations import contacts, messages
from recado.conversations.conversations import Conversation
from recado.conversations.messages import Message
from recado.db.scope import Scope

#: How many times likelier than another one a note's language is for each reason.
ASSISTANTS, OF_COUNTRY, WRITTEN = 2.0, 3.0, 20.0
_CALLING_CODES = {
    "pt": "55 351 238 239 244 245 258 670",
    "es": "34 51 52 53 54 56 57 58 240 502 503 504 505 506 507 591 593 595 598 1787 1809 1829 1849 1939",
    "en": "1 27 44 61 63 64 65 91 92 220 231 232 233 234 254 256 260 263 264 266 267 268 353 356 592",
}
#: Calling codes of the ITU (E.164) by the language that most of the country's people speak or write in.
COUNTRIES = {code: language for language, codes in _CALLING_CODES.items() for code in codes.split()}


def spoken(conversation: Conversation, assistant: Assistant) -> str:
    """The language to speak to the contact in, and to listen for, by its two letters."""
    return (conversation.contact_language or assistant.language).partition("-")[0].lower()


def may_be_spoken(conversation: Conversation, assistant: Assistant) -> dict[str, float]:
    """The languages that a voice note of the contact may be in, each with what speaks for it before it is heard.

    What people said is certain. What the contact writes in is likely, and less so are the assistant's language and that
    of the country of the contact's telephone number.
    """
    told = conversation.contact_language
    if told is not None and conversation.contact_language_why == "people":
        return {told: 1.0}
    weights = dict.fromkeys(LANGUAGES, 1.0)
    for language, weight in (
        (assistant.language, ASSISTANTS),
        (of_number(conversation.contact_address), OF_COUNTRY),
        (told, WRITTEN),
    ):
        if language is not None:
            weights[language] = weights.get(language, 1.0) * weight
    return weights


def of_number(address: str) -> str | None:
    """The language of the country whose telephone number it is, where it is one that the assistants speak."""
    _, plus, digits = address.partition("+")
    if not plus:
        return None
    # Calling codes have up to three digits; +1 is shared by countries that four tell apart.
    return next((COUNTRIES[digits[:n]] for n in (4, 3, 2, 1) if digits[:n] in COUNTRIES), None)


async def with_contact_language(
    scope: Scope, conversation: Conversation, heard: Sequence[Message] | None = None
) -> Conversation:
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
