"""What a contact is told whose voice note could not be understood: to write, or to send it again."""

from __future__ import annotations

WORDS = {
    "pt": "Não consegui entender o seu áudio. Pode escrever, ou mandar o áudio de novo?",
    "es": "No pude entender tu nota de voz. ¿Puedes escribirlo, o enviarla de nuevo?",
    "en": "I couldn't understand your voice note. Could you write it, or send it again?",
}


def words_for_contact(language: str) -> str:
    """The sentence in that language, English where there is none."""
    return WORDS.get(language.partition("-")[0], WORDS["en"])
