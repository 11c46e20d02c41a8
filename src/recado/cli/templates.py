"""Commands about templates: fetch them from Twilio, list them, choose the one that carries late replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, OnlyOwner, OwnerId, answer, at_desk, check_owner, sid, table
from recado.errors import NotFound, RecadoError, UsageError

if TYPE_CHECKING:
    from recado.conversations.templates import Synced

templates_commands = group("templates", "What may be sent once WhatsApp's 24 hours are over.")
app.add_typer(templates_commands)


@templates_commands.command("sync")
def sync(
    owner: OwnerId,
    account: Annotated[
        str | None,
        typer.Option("--account", metavar="AC...", help="Only this AccountSid; if not given, all.", callback=sid),
    ] = None,
    json: Json = False,
) -> None:
    """Fetch the templates and their approvals from Twilio; those that are gone there are forgotten."""

    async def main(desk: Desk) -> list[dict[str, Any]]:
        from recado.channels.twilio import listing
        from recado.channels.twilio.senders import Senders
        from recado.db.scope import scoped

        await check_owner(desk, owner)
        wiring = desk.wiring
        async with scoped(wiring.pool, owner) as scope:
            known = await listing.accounts(scope, after=None, limit=10_000)
        asked = [one for one in known if account in (None, one.account_sid) and one.removed_at is None]
        if not asked:
            raise NotFound(f"the owner has no Twilio account{f' {account}' if account else ': `recado accounts add`'}")
        settings = wiring.settings
        senders = Senders(
            wiring.pool,
            wiring.keyring,
            api_url=settings.twilio_api_url,
            messaging_url=settings.twilio_messaging_url,
            content_url=settings.twilio_content_url,
        )
        try:
            made = []
            for one in asked:
                synced = await _sync(desk, senders, owner, one.id)
                made.append(
                    {
                        "account_sid": one.account_sid,
                        "known": synced.known,
                        "gone": synced.gone,
                        "mended": list(synced.mended),
                    }
                )
        finally:
            await senders.aclose()
        return made

    found = at_desk(main)
    rows = [(row["account_sid"], row["known"], row["gone"]) for row in found]
    left_out = [f"without characters that are no text: {one}" for row in found for one in row["mended"]]
    text = "\n".join([table(("ACCOUNT", "TEMPLATES", "GONE"), rows, empty=""), *left_out])
    answer(found, as_json=json, text=text)


async def _sync(desk: Desk, senders: Any, owner: UUID, account_id: UUID) -> Synced:
    from recado.channels.port import SendError
    from recado.conversations import templates
    from recado.db.scope import scoped
    from recado.identity import audit

    try:
        found = await (await senders.contents_of(owner, account_id)).templates()
    except SendError as error:
        raise RecadoError(str(error)) from None
    async with scoped(desk.wiring.pool, owner) as scope:
        synced = await templates.sync(scope, account_id, found, now=desk.wiring.clock.now())
        data = {"known": synced.known, "gone": synced.gone}
        await audit.record(scope, desk.caller, "sync", "templates", str(account_id), data)
    return synced


@templates_commands.command("list")
def list_templates(owner: OnlyOwner = None, json: Json = False) -> None:
    """List the templates as of the last sync; only approved ones can be sent."""

    async def main(desk: Desk) -> list[dict[str, Any]]:
        await check_owner(desk, owner)
        cursor = await desk.platform.execute(
            """
            SELECT t.id, t.owner_id, o.name AS owner, a.account_sid, t.content_sid, t.name, t.language, t.category,
                   t.status, t.rejection_reason, t.content_type, t.body, t.variables, t.synced_at
            FROM templates t JOIN owners o ON o.id = t.owner_id
            JOIN twilio_accounts a ON a.owner_id = t.owner_id AND a.id = t.account_id
            WHERE %(owner)s::uuid IS NULL OR t.owner_id = %(owner)s
            ORDER BY o.name, t.name, t.language
            """,
            {"owner": owner},
        )
        return await cursor.fetchall()

    found = at_desk(main)
    rows = [
        (
            row["content_sid"],
            row["name"],
            row["language"],
            row["status"],
            ", ".join(row["variables"]) or None,
            row["rejection_reason"],
            row["owner"],
        )
        for row in found
    ]
    heads = ("CONTENT SID", "NAME", "LANGUAGE", "STATUS", "VARIABLES", "WHY REJECTED", "OWNER")
    answer(found, as_json=json, text=table(heads, rows, empty="no template is known: `recado templates sync`"))


@templates_commands.command("fallback")
def choose_fallback(
    owner: OwnerId,
    template: Annotated[
        str, typer.Option("--template", metavar="HX...", help="The template's ContentSid; '' for none.", callback=sid)
    ],
    variable: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="{text} stands for the reply, {contact_name} for the contact's name."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Which assistant; if not given, the default one.")] = None,
    json: Json = False,
) -> None:
    """Choose the template that carries an assistant's replies once the 24 hours are over."""
    variables = dict(_pair(text) for text in variable or ())
    if len(variables) < len(variable or ()):
        raise UsageError("a variable is given twice")

    async def main(desk: Desk) -> dict[str, Any]:
        from recado.assistants import assistant as assistants
        from recado.conversations import templates
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            if name is None:
                await assistants.ensure_default(scope)
            chosen = await assistants.get(scope, name)
            fallback = templates.Fallback(content_sid=template, variables=variables) if template else None
            await templates.set_fallback(scope, chosen.id, fallback)
            data = {"changed": ["fallback_template"], "content_sid": template or None}
            await audit.record(scope, desk.caller, "change", "assistant", str(chosen.id), data)
        return {"id": chosen.id, "assistant": chosen.name, "content_sid": template or None, "variables": variables}

    made = at_desk(main)
    text = f"assistant {made['assistant']}: late replies go in {template}" if template else "late replies are held"
    answer(made, as_json=json, text=text)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise UsageError("--variable is NAME=TEXT, for instance 2={text}")
    return name.strip(), value
