"""Commands for replacing a release by the next, or by the one before: `release status`, `promote`, `adopt`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, answer, at_desk, table

if TYPE_CHECKING:
    from recado.ops.release import Status

release_commands = group("release", "Versions of the workflows: who takes new work, and what is left of the others.")
app.add_typer(release_commands)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="A version of the workflows, as `status` shows it.")]


@release_commands.command("status")
def status(json: Json = False) -> None:
    """List the versions that have workers or work. Exit code 1 when work waits that no live worker takes."""

    async def main(desk: Desk) -> Status:
        from recado.ops.release import status

        return await status(desk.platform)

    found = at_desk(main)
    answer(_object(found), as_json=json, text=_told(found))
    if found.problems:
        raise typer.Exit(1)


@release_commands.command("promote")
def promote(
    version: Version,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the others have nothing left.")] = False,
    timeout: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="How long --wait waits at most.")] = 600,
    json: Json = False,
) -> None:
    """Let this version take new work; the others take none and finish what they have begun.

    Exit code 1 when --wait has ended before they had.
    """

    async def main(desk: Desk) -> tuple[bool, Status]:
        from recado.identity import audit
        from recado.ops import release

        async with await desk.wiring.connect("recado_engine") as engine:
            await release.promote(desk.platform, engine, version)
        await audit.record(desk.platform, desk.caller, "promote", "release", None, {"version": version})
        done = True
        if wait:
            within = timedelta(seconds=timeout)

            async def told(_: Status) -> None:
                await asyncio.sleep(0)

            done = await release.drained(desk.platform, desk.wiring.clock, within=within, told=told)
        return done, await release.status(desk.platform)

    done, found = at_desk(main)
    answer(_object(found) | {"drained": done if wait else None}, as_json=json, text=_told(found))
    if not done:
        raise typer.Exit(1)


@release_commands.command("adopt")
def adopt(version: Version, json: Json = False) -> None:
    """Have what a version without workers has begun begun again by the others: nothing is sent twice."""

    async def main(desk: Desk) -> int:
        from recado.identity import audit
        from recado.ops import release

        async with await desk.wiring.connect("recado_engine") as engine:
            count = await release.adopt(desk.platform, engine, version)
        await audit.record(desk.platform, desk.caller, "adopt", "release", None, {"version": version})
        return count

    count = at_desk(main)
    answer({"version": version, "workflows": count}, as_json=json, text=f"{count} begun again")


def _object(found: Status) -> dict[str, Any]:
    return {
        "versions": [asdict(one) for one in found.versions],
        "new": found.new,
        "problems": [what for what, _ in found.problems],
    }


def _told(found: Status) -> str:
    rows = [
        (
            one.version,
            "drains" if one.draining else "takes new work",
            f"{one.workers} ({', '.join(one.releases)})" if one.workers else "none",
            str(one.in_work),
            str(one.waiting),
        )
        for one in found.versions
    ]
    lines = [
        table(("version", "state", "workers", "in hand", "begun, waiting"), rows, empty="no version has workers"),
        f"not begun: {found.new}",
    ]
    lines += [f"{what}: {fix}" for what, fix in found.problems]
    return "\n".join(lines)
