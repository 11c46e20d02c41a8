"""Commands about the people who write to an owner: `recado contacts`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, OwnerId, answer, at_desk, check_owner

contacts_commands = group("contacts", "The people who write to an owner.")
app.add_typer(contacts_commands)

ContactId = Annotated[UUID, typer.Option("--contact", metavar="ID", help="The contact's id, of `GET /v1/contacts`.")]


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
        from recado.conversations import contacts, suppressions
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            await (suppressions.suppress if action == "suppress" else suppressions.allow)(scope, contact)
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
