"""Commands about a person's data: `contacts export`, `contacts erase`, `contacts erasures`, `owners retention`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from recado.cli.contacts import contacts_commands
from recado.cli.setup import owners_commands
from recado.cli.terminal import Desk, Json, Limit, OwnerId, answer, at_desk, check_owner, progress, table
from recado.errors import UsageError

if TYPE_CHECKING:
    from recado.conversations.erasures import Erasure, Left
    from recado.db.scope import Scope

ContactId = Annotated[UUID, typer.Argument(metavar="ID", help="The contact's id, of `GET /v1/contacts`.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="A folder for the copy: a new one, or an empty one.")]
Wait = Annotated[bool, typer.Option("--wait", help="Come back when it has ended; ending the command does not end it.")]

WAIT_POLL_S = 0.5


@contacts_commands.command("export")
def export_contact(contact: ContactId, owner: OwnerId, out: Out, json: Json = False) -> None:
    """Write a copy of everything that is kept of a person: JSON, their files, a manifest with hashes."""

    async def main(desk: Desk) -> dict[str, Any]:
        from recado.db.scope import scoped
        from recado.identity import audit
        from recado.ops.privacy import export

        await check_owner(desk, owner)
        made_at = desk.wiring.clock.now()
        found = await export.copy(
            lambda: scoped(desk.wiring.pool, owner), desk.wiring.storage, owner, contact, made_at=made_at
        )
        folder = _new_folder(out)
        async with scoped(desk.wiring.pool, owner) as scope:
            await audit.record(scope, desk.caller, "export", "contact", str(contact))
        with progress("Copying", None) as advance:
            async for file in found.files():
                await _write(folder / file.path, file)
                advance()
        return found.manifest

    manifest = at_desk(main)
    files = len(manifest["files"])
    missing = f"; {len(manifest['missing'])} files are missing" if manifest["missing"] else ""
    answer(
        {"contact_id": contact, "owner_id": owner, "folder": out, **manifest},
        as_json=json,
        text=f"{files} files and manifest.json in {out}{missing}",
    )


def _new_folder(out: Path) -> Path:
    """The folder, made for this user alone. Raises UsageError for one that holds something."""
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UsageError(f"{out}: not empty: a copy is written into a folder of its own")
        out.chmod(0o700)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror or type(error).__name__}") from None
    return out


async def _write(path: Path, file: Any) -> None:
    from recado.media.storage import new_file

    path.parent.mkdir(mode=0o700, exist_ok=True)
    with new_file(path) as target:
        async for piece in file.pieces:
            target.write(piece)


@contacts_commands.command("erase")
def erase_contact(contact: ContactId, owner: OwnerId, wait: Wait = False, json: Json = False) -> None:
    """Erase a person for good, here and at Twilio; a worker does it, and can be stopped and started meanwhile.

    Nothing is sent to them from now on, and what they write next is a new contact's. Asked again it is the same
    erasure; what Twilio did not let go is tried again.
    """

    async def main(desk: Desk) -> dict[str, Any]:
        import asyncio

        from recado.conversations import erasures
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        wiring = desk.wiring
        async with scoped(wiring.pool, owner) as scope:
            erasure, new = await erasures.request(scope, wiring.keyring, contact, now=wiring.clock.now())
            if new:
                data = {"erasure_id": str(erasure.id)}
                await audit.record(scope, desk.caller, "erase", "contact", str(contact), data)
        while wait and erasure.status in erasures.OPEN:
            await asyncio.sleep(WAIT_POLL_S)
            async with scoped(wiring.pool, owner) as scope:
                erasure = await erasures.get(scope, erasure.id)
        async with scoped(wiring.pool, owner) as scope:
            return await _shown(scope, erasure)

    done = at_desk(main)
    answer(done, as_json=json, text=_told(done))


@contacts_commands.command("erasures")
def list_erasures(owner: OwnerId, limit: Limit = 100, json: Json = False) -> None:
    """List an owner's erasures, newest first: how far each is, and what of it is left."""

    async def main(desk: Desk) -> list[dict[str, Any]]:
        from recado.conversations import erasures
        from recado.db.scope import scoped

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            found = (await erasures.page(scope, before=None, limit=limit))[:limit]
            return [await _shown(scope, one) for one in found]

    found = at_desk(main)
    rows = [
        (one["id"], one["status"], one["requested_at"], one["erased_at"], sum(left["count"] for left in one["left"]))
        for one in found
    ]
    heads = ("ID", "STATUS", "REQUESTED (UTC)", "ERASED HERE (UTC)", "NOT DELETED")
    answer(found, as_json=json, text=table(heads, rows, empty="nobody was erased"))


async def _shown(scope: Scope, erasure: Erasure) -> dict[str, Any]:
    from recado.conversations import erasures

    left = await erasures.left(scope, erasure.id)
    return {**_fields(erasure), "owner_id": scope.owner_id, "left": [_fields(one) for one in left]}


def _fields(one: Erasure | Left) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _told(done: dict[str, Any]) -> str:
    lines = [f"erasure {done['id']}  {done['status']}"]
    if done["waits_for"] is not None:
        lines.append(f"  waits for   {done['waits_for']}")
    lines += [f"  {number:>8,}  {name}" for name, number in sorted(done["counts"].items())]
    lines += [
        f"  {one['count']:>8,}  {one['kind']} not deleted"
        + (f" (Twilio {one['code']})" if one["code"] is not None else "")
        for one in done["left"]
    ]
    if done["suppression_kept"]:
        lines.append("  that they want no messages is kept as a keyed hash")
    if done["status"] in ("stopping", "erasing", "twilio"):
        lines.append("  a worker goes on with it: `recado contacts erasures` tells how far it is")
    return "\n".join(lines)


def _days(given: str | None) -> str | None:
    if given is not None and given != FOREVER and not (given.isascii() and given.isdecimal() and len(given) < 7):
        raise typer.BadParameter(f"must be a number of days, or `{FOREVER}`")
    return given


FOREVER = "forever"


def _period(what: str, of: str) -> Any:
    return typer.Option(f"--{what}", metavar="DAYS", help=f"{of}; `{FOREVER}` for no period.", callback=_days)


@owners_commands.command("retention")
def set_retention(
    owner: Annotated[UUID, typer.Argument(metavar="ID", help="The owner's id.")],
    messages: Annotated[str | None, _period("messages", "Messages, with all that belongs to them")] = None,
    media: Annotated[str | None, _period("media", "Files, and what documents say")] = None,
    events: Annotated[str | None, _period("events", "What happened to messages")] = None,
    audit: Annotated[str | None, _period("audit", "What users did")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say how much would go.")] = False,
    json: Json = False,
) -> None:
    """Show for how many days an owner keeps what, or set it; what is older is deleted by the workers, for good.

    Nothing has a period at first. What is not named stays as it is.
    """
    given = {"messages": messages, "media": media, "events": events, "audit": audit}
    wanted = {what: None if days == FOREVER else int(days) for what, days in given.items() if days is not None}

    async def main(desk: Desk) -> dict[str, Any]:
        from dataclasses import asdict, replace

        from recado.db.scope import scoped
        from recado.identity import audit as audits
        from recado.identity import retention
        from recado.ops.privacy import periods

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as scope:
            before = await retention.get(scope)
            after = replace(before, **wanted)
            retention.check(after)
            if not dry_run and after != before:
                await retention.put(scope, after)
                await audits.record(scope, desk.caller, "set_retention", "owner", str(owner), asdict(after))
            counts = await periods.count(scope, after, now=desk.wiring.clock.now())
        return {"owner_id": owner, "set": not dry_run, "days": asdict(after), "would_go": counts}

    shown = at_desk(main)
    rows = [(what, FOREVER if days is None else f"{days} days") for what, days in shown["days"].items()]
    lines = [table(("WHAT", "KEPT FOR"), rows, empty="")]
    lines += [f"{number:,} {name.replace('_', ' ')}" for name, number in shown["would_go"].items()]
    if shown["would_go"]:
        lines.insert(1, "older than that now:" if not dry_run else "would be deleted now (nothing is changed):")
    answer(shown, as_json=json, text="\n".join(lines))
