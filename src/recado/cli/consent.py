"""Commands about who wants no messages: `consent` (words) and `contacts` (people)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, OwnerId, answer, at_desk, check_owner, table

if TYPE_CHECKING:
    from recado.conversations.consent import Word

consent_commands = group("consent", "The words by which contacts opt out of messages, and in again.")
contacts_commands = group("contacts", "The people who write to an owner.")
app.add_typer(consent_commands)
app.add_typer(contacts_commands)

ContactId = Annotated[UUID, typer.Option("--contact", metavar="ID", help="The contact's id, of `GET /v1/contacts`.")]


@consent_commands.command("words")
def list_words(owner: OwnerId, json: Json = False) -> None:
    """List the words that count for an owner's contacts: those of all owners, and the owner's own with their ids."""

    async def main(desk: Desk) -> list[Word]:
        from recado.conversations import consent
        from recado.db.scope import scoped

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            return await consent.words(scope)

    own = at_desk(main)
    from recado.conversations.consent import WORDS

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
        from recado.conversations import consent
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            made = await consent.add_word(scope, word, action, language=language)
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
        from recado.conversations import consent
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            gone = await consent.remove_word(scope, id)
            await audit.record(scope, desk.caller, "remove", "consent_word", str(id))
        return gone

    gone = at_desk(main)
    answer(_word(gone), as_json=json, text=f"{gone.word} is a message like any other now")


def _word(word: Word) -> dict[str, Any]:
    return {"id": word.id, "word": word.word, "action": word.action, "language": word.language}


@contacts_commands.command("suppress")
def suppress(owner: OwnerId, contact: ContactId, json: Json = False) -> None:
    """Send a contact no more messages, because they asked for it elsewhere."""
    _decide(owner, contact, "suppress", as_json=json)


@contacts_commands.command("allow")
def allow(owner: OwnerId, contact: ContactId, json: Json = False) -> None:
    """Take back what `suppress` did; an opt-out of the contact's own stays."""
    _decide(owner, contact, "allow", as_json=json)


def _decide(owner: UUID, contact: UUID, action: Literal["suppress", "allow"], *, as_json: bool) -> None:
    async def main(desk: Desk) -> dict[str, Any]:
        from recado.conversations import consent, contacts
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            await (consent.suppress if action == "suppress" else consent.allow)(scope, contact)
            await audit.record(scope, desk.caller, action, "contact", str(contact))
            found = await contacts.get(scope, contact)
        return {
            "id": found.id,
            "owner_id": owner,
            "suppressed": found.suppressed,
            "suppressed_since": found.suppressed_since,
            "suppressed_why": found.suppressed_why,
        }

    done = at_desk(main)
    text = "nothing is sent to them any more" if done["suppressed"] else "messages are sent to them again"
    answer(done, as_json=as_json, text=f"contact {done['id']}  {text}")
