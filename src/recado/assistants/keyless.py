"""The keyless assistant: answers from the owner's knowledge when the match is sure, and never guesses.

It answers where no model is set, and takes over when a model has failed.
"""

from __future__ import annotations

import re
from typing import Literal

from recado.assistants import knowledge, words
from recado.assistants.knowledge import Match
from recado.assistants.vocabulary import COURTESY, OPENING, THANKS
from recado.assistants.words import detect
from recado.db.scope import Scope
from recado.delivery.markdown import to_whatsapp

__all__ = ["answer", "detect", "sure", "words_for_person"]

#: Below this it does not answer; and the best entry must be this far ahead of the next that says something else.
THRESHOLD = 0.53
LEAD = 0.06

MOST_QUESTIONS = 8
#: So much of what was written is looked at, more than any one message holds; and a greeting is shorter than that.
MOST_CHARS = 8_000
COURTESY_CHARS = 400

_QUESTION_ENDS = re.compile(r"(?<=[?!])\s|\n")

GREETING = {
    "pt": "Olá! Como posso ajudar?",
    "es": "¡Hola! ¿En qué puedo ayudarte?",
    "en": "Hello! How can I help you?",
}
WELCOME = {"pt": "De nada! Se precisar, é só chamar.", "es": "¡De nada! Aquí estamos.", "en": "You're welcome!"}
PERSON = {
    "pt": "Não tenho essa resposta agora. Já avisei uma pessoa da equipe, que vai responder por aqui.",
    "es": "No tengo esa respuesta ahora. Ya avisé a una persona del equipo, que te responderá por aquí.",
    "en": "I don't have that answer right now. I've told a person on our team, who will reply here.",
}


async def answer(scope: Scope, text: str, *, language: str) -> str | None:
    """What the owner's knowledge says to the contact's words; None when it holds no sure answer.

    Several questions, one a line or each with its question mark, are answered in order, as far as they are sure, each
    entry once. A greeting or thanks with nothing else is answered in kind.
    """
    text = text[:MOST_CHARS]
    courtesy = _courtesy(text)
    if courtesy is not None:
        table = GREETING if courtesy == "greeting" else WELCOME
        return table.get(detect(text) or language, table["en"])
    answers: dict[str, None] = {}
    for question in _questions(text):
        asked_in = detect(question) or detect(text) or language
        match = sure(await knowledge.search(scope, question, language=asked_in))
        if match is not None:
            # Knowledge is written in Markdown.
            answers.setdefault(to_whatsapp(match.content))
    return "\n\n".join(answers) or None


def sure(matches: list[Match]) -> Match | None:
    """The best of the matches (which come best first), if it is good enough and clearly ahead; else None."""
    if not matches or matches[0].score < THRESHOLD:
        return None
    best = matches[0]
    rivals = [match for match in matches[1:] if match.content != best.content]
    return best if not rivals or best.score - rivals[0].score >= LEAD else None


def words_for_person(language: str) -> str:
    """What the contact is told when nothing is known: that a person of the team was told and answers here."""
    return PERSON.get(language, PERSON["en"])


def _questions(text: str) -> list[str]:
    parts = [part.strip() for part in _QUESTION_ENDS.split(text)]
    return [part for part in parts if part][:MOST_QUESTIONS]


def _courtesy(text: str) -> Literal["greeting", "thanks"] | None:
    if len(text) > COURTESY_CHARS:
        return None
    said = {words.fold(token) for token in words.tokens(text)}
    if not said or said - OPENING - THANKS - COURTESY:
        return None
    if said & THANKS:
        return "thanks"
    return "greeting" if said & OPENING else None
