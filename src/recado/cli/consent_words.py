"""Commands about the words by which contacts opt out and in: `recado consent`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, OwnerId, answer, at_desk, check_owner, table

if TYPE_CHECKING:
    from recado.conversations.consent_words import Word

consent_commands = group("consent", "The words by which contacts opt out of messages, and in again.")
app.add_typer(consent_commands)


@consent_commands.command("words")
def list_words(owner: OwnerId, json: Json = False) -> None:
    """List the words that count for an owner's contacts: those of all owners, and the owner's own with their ids."""

    async def main(desk: Desk) -> list[Word]:
        from recado.conversations import consent_words
        from recado.db.scope import scoped

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            return await consent_words.words(scope)

    own = at_desk(main)
    from recado.conversations.consent_words import WORDS

    found = [
        {"id": None, "word": word, "action": action, "language": language}
        for action, lists in WORDS.items()
        for language, words in lists.items()
        for word in words
    ] + [_word(word) for word in own]
    rows = [(row["word"], row["action"], row["language"], row["id"]) for row in found]
    answer(found, as_json=json, text=table(("WORD", "ACTION", "LANGUAGE", "ID"), rows, empty=""))


@consent_commands.command("add")
def add_word(
    owner: OwnerId,
    word: Annotated[str, typer.Option(help="A word or short phrase; case, accents and punctuation don't matter.")],
    action: Annotated[Literal["stop", "start"], typer.Option(help="stop: no more messages; start: messages again.")],
    language: Annotated[
        Literal["pt", "es", "en"] | None, typer.Option(help="Its language, which the confirmation is then in.")
    ] = None,
    json: Json = False,
) -> None:
    """Add a word of the owner's own, or change what it does."""

    async def main(desk: Desk) -> Word:
        from recado.conversations import consent_words
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            made = await consent_words.add_word(scope, word, action, language=language)
            await audit.record(scope, desk.caller, "add", "consent_word", str(made.id), {"action": action})
        return made

    made = at_desk(main)
    answer(_word(made), as_json=json, text=f"{made.word}  {made.action}  {made.id}")


@consent_commands.command("remove")
def remove_word(
    owner: OwnerId,
    id: Annotated[UUID, typer.Option("--id", metavar="ID", help="The word's id, of `recado consent words`.")],  # noqa: A002
    json: Json = False,
) -> None:
    """Take a word of the owner's own away; who opted out by it stays so."""

    async def main(desk: Desk) -> Word:
        from recado.conversations import consent_words
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            gone = await consent_words.remove_word(scope, id)
            await audit.record(scope, desk.caller, "remove", "consent_word", str(id))
        return gone

    gone = at_desk(main)
    answer(_word(gone), as_json=json, text=f"{gone.word} is a message like any other now")


def _word(word: Word) -> dict[str, Any]:
    return {"id": word.id, "word": word.word, "action": word.action, "language": word.language}
