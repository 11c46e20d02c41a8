"""Commands for the keys that encrypt stored secrets: `secrets status`, `secrets rotate`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, answer, at_desk, progress, settings_for_command, table
from recado.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from recado.ops.rekey import KeyUse, Rekeyed

secrets_commands = group("secrets", "The keys that encrypt stored secrets.")
app.add_typer(secrets_commands)


@secrets_commands.command("status")
def status(json: Json = False) -> None:
    """List the keys by id, how many stored secrets need each, and which may be removed."""

    async def main(desk: Desk) -> list[KeyUse]:
        from recado.ops.rekey import usage

        return await usage(desk.platform, desk.wiring.keyring)

    found = at_desk(main)
    answer([_key(use) for use in found], as_json=json, text=_told(found))


@secrets_commands.command("rotate")
def rotate(
    new_key: Annotated[
        bool, typer.Option("--new-key", help="First put a new key into the key file, which every process reads.")
    ] = False,
    json: Json = False,
) -> None:
    """Encrypt every stored secret with the first key, while everything runs. Repeated, it goes on where it stopped.

    Exit code 1 when a secret can't be opened with the keys there are, or while another rotation runs.
    """
    file = _key_file() if new_key else None

    async def main(desk: Desk) -> tuple[Rekeyed, list[KeyUse]]:
        from recado.db.secrets import LOOK_S, add_key, load_keyring
        from recado.identity import audit
        from recado.ops.rekey import alone, rekey, usage

        await alone(desk.platform)
        if file is not None:
            add_key(file)
            # What the others seal until they have looked would need the old key after all.
            await asyncio.sleep(LOOK_S)
        # Read now: what stood in the file when this command began may have been changed by the rotation before.
        keyring = load_keyring(desk.wiring.settings)
        waiting = sum(use.waiting for use in await usage(desk.platform, keyring))
        with progress("encrypting", waiting) as advance:
            done = await rekey(desk.platform, keyring, advance=advance)
        await audit.record(desk.platform, desk.caller, "rotate", "secrets", None, {"encrypted": done.secrets})
        return done, await usage(desk.platform, keyring)

    done, found = at_desk(main)
    lines = [f"encrypted again: {done.secrets}", *(f"can't be opened: {place}" for place in done.unreadable)]
    result = {"encrypted": done.secrets, "unreadable": done.unreadable, "keys": [_key(use) for use in found]}
    answer(result, as_json=json, text="\n".join([*lines, "", _told(found)]))
    if done.unreadable:
        raise typer.Exit(1)


def _key_file() -> Path:
    from recado.db.secrets import key_file

    path = key_file(settings_for_command())
    if path is None:
        raise UsageError(
            "--new-key needs a key file: set RECADO_SECRET_KEYS=file:/path, or put the new key first there yourself"
        )
    if not path.exists():
        raise UsageError(f"{path}: there is no key file yet; the first start makes it")
    return path


def _key(use: KeyUse) -> dict[str, Any]:
    return {**asdict(use), "removable": use.removable}


def _told(found: Sequence[KeyUse]) -> str:
    rows = [(use.key_id, use.place or "missing", use.secrets, _advice(use)) for use in found]
    return table(("KEY ID", "PLACE", "SECRETS", ""), rows, empty="no key")


def _advice(use: KeyUse) -> str:
    if use.place is None:
        return "put it back, or give these secrets again"
    if use.place == 1:
        return "encrypts"
    return "may be removed" if use.removable else "needed until `recado secrets rotate`"
