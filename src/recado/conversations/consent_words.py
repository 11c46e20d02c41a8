"""Consent words: by which contacts opt out and in, those that all owners have and each owner's own.

A word counts when it is the whole message, whatever its case, accents and punctuation. An opt-in word of somebody who
never opted out is a message like any other. What a word does is in the database's function `heed`; who opted out is in
`suppressions`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from recado.db.scope import Scope
from recado.errors import Conflict, NotFound, UsageError
from recado.ids import new_id

Action = Literal["stop", "start"]
Language = Literal["pt", "es", "en"]

#: What every owner's contacts may say; docs/how-to/consent.md lists the same.
WORDS: Final[Mapping[Action, Mapping[Language, tuple[str, ...]]]] = {
    "stop": {
        "pt": (
            *("stop", "sair", "parar", "pare", "cancelar", "cancele", "remover", "descadastrar", "descadastre"),
            *("sair da lista", "cancelar inscrição", "parar mensagens", "não quero mais mensagens"),
        ),
        "es": (
            *("stop", "baja", "parar", "cancelar", "salir", "detener", "desuscribir", "dar de baja", "darme de baja"),
            *("cancelar suscripción", "no quiero más mensajes", "no más mensajes"),
        ),
        "en": (
            *("stop", "stop all", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "opt out", "optout"),
            "no more messages",
        ),
    },
    "start": {
        "pt": ("start", "voltar", "iniciar", "reativar", "ativar", "quero receber"),
        "es": ("start", "alta", "volver", "iniciar", "reactivar", "activar", "quiero recibir"),
        "en": ("start", "unstop", "subscribe", "resubscribe", "opt in", "optin"),
    },
}

#: How many characters a message may have to be looked at as a word at all.
MOST_CHARS: Final = 64


def normal(text: str) -> str | None:
    """A short text as words are compared: lower case, no accents, nothing but letters, digits and single spaces.

    None for what is too long to be one, or holds no letter or digit.
    """
    if len(text) > MOST_CHARS:
        return None
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = (
        character if character.isalnum() else " "
        for character in decomposed
        if unicodedata.category(character) not in ("Mn", "Me", "Cf")
    )
    return " ".join("".join(kept).split()) or None


def _known() -> tuple[dict[str, Action], dict[str, Language | None]]:
    actions: dict[str, Action] = {}
    languages: dict[str, Language | None] = {}
    for action, lists in WORDS.items():
        for language, words in lists.items():
            for word in map(normal, words):
                assert word is not None and actions.get(word, action) == action, word  # noqa: S101, PT018
                languages[word] = None if word in languages else language
                actions[word] = action
    return actions, languages


_ACTIONS, _LANGUAGES = _known()


def asks(word: str | None) -> Action | None:
    """What a word in its normal form asks for by the lists that all owners have."""
    return _ACTIONS.get(word) if word is not None else None


def language_of(text: str) -> Language | None:
    """The one language whose list has this word; None for none or several."""
    return _LANGUAGES.get(normal(text) or "")


def columns(said: str, *, tapped: str | None) -> dict[str, str | None]:
    """What a row for `HEED` carries of a message with these words; `tapped` is what a button or list item means.

    A tap on "Cancelar" that means `cancel_order_42` is about an order: it counts only where both are words that ask for
    the same.
    """
    word, meant = normal(said), None
    if tapped is not None:
        meant = normal(tapped)
        word = word if meant is not None else None
    return {"word": word, "asks": asks(word), "meant": meant, "meant_asks": asks(meant)}


def heard(action: Literal["stop", "start", "help"]) -> dict[str, str | None]:
    """The same for a message whose word the channel has heard itself: that goes before what its words say."""
    return {} if action == "help" else {"word": action, "asks": action}


#: For `accept`, whose rows carry `columns`: heeds what was stored by this very statement, in its order.
HEED: Final = """
PERFORM heed(owned.owner_id, said.id, said.conversation_id, said.identity_key, said.action) FROM (
    SELECT asked.id, asked.action, m.conversation_id, m.identity_key
    FROM (
        SELECT r.id, r.meant,
               coalesce(r.asks, (SELECT w.action FROM consent_words w
                                 WHERE w.owner_id = owned.owner_id AND w.word = r.word LIMIT 1)) AS action,
               coalesce(r.meant_asks, (SELECT w.action FROM consent_words w
                                       WHERE w.owner_id = owned.owner_id AND w.word = r.meant LIMIT 1)) AS meant_action
        FROM json_to_recordset(owned.rows) AS r(id uuid, word text, asks text, meant text, meant_asks text)
        WHERE r.word IS NOT NULL OFFSET 0
    ) asked
    CROSS JOIN LATERAL (
        SELECT conversation_id, (SELECT c.identity_key FROM conversations v
                                 JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
                                 WHERE v.owner_id = owned.owner_id AND v.id = messages.conversation_id LIMIT 1
                                ) AS identity_key
        FROM messages WHERE owner_id = owned.owner_id AND id = asked.id LIMIT 1
    ) m
    WHERE asked.action IS NOT NULL AND (asked.meant IS NULL OR asked.meant_action = asked.action)
    ORDER BY asked.id OFFSET 0
) said
"""


async def heed_spoken(scope: Scope, message_ids: Sequence[UUID]) -> None:
    """Heed the voice notes among these messages that say nothing but an opt-out word.

    Only that: a word heard wrongly may silence us, it must not make us speak.
    """
    cursor = await scope.conn.execute(
        """
        SELECT m.id, m.conversation_id, m.transcript, c.identity_key FROM messages m
        JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
        JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
        WHERE m.owner_id = %s AND m.id = ANY(%s) AND m.transcript IS NOT NULL ORDER BY m.id FOR KEY SHARE OF c
        """,
        [scope.owner_id, list(message_ids)],
    )
    for row in await cursor.fetchall():
        word = normal(row["transcript"])
        if word is not None and (asks(word) or await _added(scope, word)) == "stop":
            await scope.conn.execute(
                "SELECT heed(%s, %s, %s, %s, 'stop')",
                [scope.owner_id, row["id"], row["conversation_id"], row["identity_key"]],
            )


async def _added(scope: Scope, word: str) -> str | None:
    cursor = await scope.conn.execute(
        "SELECT action FROM consent_words WHERE owner_id = %s AND word = %s", [scope.owner_id, word]
    )
    row = await cursor.fetchone()
    return row["action"] if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word that an owner added, in its normal form."""

    id: UUID
    word: str
    action: Action
    language: Language | None
    created_at: datetime


async def words(scope: Scope) -> list[Word]:
    """The words that the owner added, oldest first."""
    cursor = await scope.conn.execute(
        "SELECT id, word, action, language, created_at FROM consent_words WHERE owner_id = %s ORDER BY id",
        [scope.owner_id],
    )
    return [Word(**row) for row in await cursor.fetchall()]


async def add_word(scope: Scope, text: str, action: Action, *, language: Language | None = None) -> Word:
    """Add a word or short phrase, or change what it does.

    Raises UsageError for what can be no word; Conflict for one that all owners have.
    """
    word = normal(text)
    if word is None:
        raise UsageError(f"a word has letters or digits, and {MOST_CHARS} characters at most")
    if asks(word) is not None:
        raise Conflict(f"{word} means {asks(word)} for every owner")
    cursor = await scope.conn.execute(
        """
        INSERT INTO consent_words AS w (owner_id, id, word, action, language) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (owner_id, word)
        DO UPDATE SET action = excluded.action, language = coalesce(excluded.language, w.language)
        RETURNING id, word, action, language, created_at
        """,
        [scope.owner_id, new_id(), word, action, language],
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - it was inserted or updated
    return Word(**row)


async def remove_word(scope: Scope, word_id: UUID) -> Word:
    """Take a word away that the owner added; who opted out by it stays so. Raises NotFound."""
    cursor = await scope.conn.execute(
        "DELETE FROM consent_words WHERE owner_id = %s AND id = %s RETURNING id, word, action, language, created_at",
        [scope.owner_id, word_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no word {word_id}")
    return Word(**row)
