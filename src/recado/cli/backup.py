"""Commands that make sets and put them back: `backup`, `restore`, and what a restored database waits for."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from typer.core import TyperGroup

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, account_name, answer, at_desk, progress, settings_for_command, sid, table
from recado.errors import Conflict, NotFound, RecadoError, SettingsError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from recado.db.secrets import Keyring
    from recado.ops.backup.quarantine import Silence
    from recado.ops.backup.restore import Restored
    from recado.ops.backup.sets import Manifest
    from recado.settings import Settings

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The set's folder.")]


class _OrFolder(TyperGroup):
    """A group whose first word may be a folder instead of a command: `recado backup DIR` is `recado backup make DIR`.

    A folder that has a command's name is written with its path: `./release`.
    """

    otherwise = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the command's name where a folder, or an option of it, comes first."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [self.otherwise, *args]
        return super().parse_args(ctx, args)


class _OrMake(_OrFolder):
    otherwise = "make"


class _OrPut(_OrFolder):
    otherwise = "put"


backup_commands = group("backup", "Make a set: `recado backup DIR`. Everything works on meanwhile.", of=_OrMake)
app.add_typer(backup_commands)
restore_commands = group(
    "restore", "Put a set back: `recado restore DIR`; then let it speak: `recado restore release`.", of=_OrPut
)
app.add_typer(restore_commands)


def _say(text: str) -> None:
    print(f"recado: {text}", file=sys.stderr, flush=True)


@backup_commands.command("make")
def make(
    folder: Folder,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then keep it up, until SIGTERM; of a set that is there, go on with that.")
    ] = False,
    media: Annotated[
        str | None,
        typer.Option(
            metavar="copy|list", help="Attachments: copied, or only listed. A bucket's are listed by default."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a set in a new folder: database, attachments, fingerprints of keys. Whole and checked, or not at all."""
    if media not in (None, "copy", "list"):
        raise UsageError("--media takes copy or list")
    settings = settings_for_command()
    if follow and settings.database_url is not None:
        raise UsageError("--follow is for the embedded database: archive an external one's log with its own tools")
    if follow and (folder / "wal").is_dir():
        _follow(folder)
        return

    async def main(desk: Desk) -> Manifest:
        from recado.ops.backup import sets, take

        for left in sets.left_behind(folder):
            _say(f"left over from a backup that was cut short, or being made now: {left}")
        copied = (media or ("list" if settings.media_url else "copy")) == "copy"
        wiring = desk.wiring
        source = take.Source(
            platform=desk.platform,
            keyring=wiring.keyring,
            storage=wiring.storage,
            lease=wiring.database.lease,
            kept="copied" if copied else "listed",
        )
        return await take.make(source, folder, followed=follow, say=_say if sys.stderr.isatty() else lambda _: None)

    manifest = at_desk(main)
    answer(_as_json(manifest, folder), as_json=json, text="\n".join(_made(manifest, folder)))
    if follow:
        sys.stdout.flush()
        _follow(folder)


def _made(manifest: Manifest, folder: Path) -> list[str]:
    database, media = manifest.database, manifest.media
    lines = [f"{folder}: a set of {manifest.consistent_at:%Y-%m-%dT%H:%M:%SZ}, whole and checked"]
    if database.kind == "embedded":
        lines.append(f"database: PostgreSQL {database.postgres}, {database.files} files, {database.bytes:,} bytes")
    else:
        lines.append("database: external, NOT in the set; its own backup must be of before this moment")
    lines.append(f"attachments: {media.files} {media.kept}, {media.bytes:,} bytes, {media.missing} missing")
    lines.append(f"keys that it needs, which are NOT in it: {', '.join(manifest.needed) or 'none'}")
    return lines


def _as_json(manifest: Manifest, folder: Path) -> dict[str, Any]:
    return {"id": str(manifest.set), "folder": str(folder), **asdict(manifest)}


def _follow(folder: Path) -> None:
    """Keep the set up until SIGTERM or SIGINT."""
    from recado.db.secrets import load_keyring
    from recado.ops.backup import sets, take
    from recado.wiring import database

    settings = settings_for_command()
    manifest = sets.read(folder, load_keyring(settings))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with database(settings) as there:
        assert there.lease is not None  # noqa: S101 - of an embedded database only
        (folder / "wal").mkdir(mode=0o700, exist_ok=True)
        _say(f"following: {folder / 'wal'}")
        attachments = None if settings.media_url else settings.home / "media"
        take.follow(there.lease, folder, manifest.set, attachments=attachments, stopped=stop.is_set)


@backup_commands.command("verify")
def verify(folder: Folder, json: Json = False) -> None:
    """Check a set as a restore does, and change nothing: its seal, every file's hash, the database's log."""
    from recado.db.secrets import load_keyring
    from recado.ops.backup import sets

    keyring = load_keyring(settings_for_command())
    manifest = sets.read(folder, keyring)
    sets.must_fit(manifest, keyring)
    sets.check(folder, manifest)
    answer(_as_json(manifest, folder), as_json=json, text="\n".join(_made(manifest, folder)))


@restore_commands.command("put")
def put(
    folder: Folder,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TIME",
            help="The moment, as 2026-11-28T14:05:00Z, for a set that was followed; of an external database the moment "
            "that its own backup has put it back to.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move the data that is in RECADO_HOME aside. It is not deleted.")
    ] = False,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="The keys are lost: every token has to be given anew.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a set back into an empty RECADO_HOME, or what belongs to an external database that was put back.

    Nothing is sent to anybody before `recado restore release`.
    """
    from recado.ops.backup.restore import moment_of

    settings = settings_for_command()
    done = asyncio.run(_put(settings, folder, moment_of(to) if to else None, replace=replace, lost=without_keys))
    lines = [
        f"restored to {done.moment.isoformat(timespec='milliseconds')}: "
        + ", ".join(f"{count} {name}" for name, count in done.counts.items()),
        f"attachments put back: {done.attachments}",
        f"people signed out: {done.sessions}; to be erased again: {done.erased}",
        f"Twilio accounts that nothing is sent for: {done.quarantined}",
        "next: start recado, look at `recado doctor`, then `recado restore release`",
    ]
    answer(asdict(done), as_json=json, text="\n".join(lines))


async def _put(settings: Settings, folder: Path, to: datetime | None, *, replace: bool, lost: bool) -> Restored:
    from recado.ops.backup import restore, sets

    external = settings.database_url is not None
    keyring = _keyring(settings, lost=lost)
    manifest = sets.read(folder, None if lost else keyring)
    restore.must_reach(folder, manifest, to, external=external)
    if not lost:
        sets.must_fit(manifest, keyring)
    await asyncio.to_thread(sets.check, folder, manifest)
    moment = to or manifest.started_at
    if not external:
        from recado.wiring import LOGIN, PLATFORM_LOGIN

        moment = await asyncio.to_thread(
            restore.put_database,
            settings.home,
            folder,
            manifest,
            to=to,
            replace=replace,
            logins=(LOGIN, PLATFORM_LOGIN),
        )
    done = await _settle(settings, keyring, folder, manifest, moment)
    restore.finish(settings.home)
    return done


def _keyring(settings: Settings, *, lost: bool) -> Keyring:
    from recado.db.secrets import key_file, load_keyring

    path = key_file(settings)
    if not lost and settings.database_url is None and path is not None and not path.exists():
        raise SettingsError(
            f"{path}: there is no key; put the keys of the set there first, or set RECADO_SECRET_KEYS "
            "(where they are lost: --without-keys)"
        )
    return load_keyring(settings)


async def _settle(settings: Settings, keyring: Keyring, folder: Path, manifest: Manifest, moment: datetime) -> Restored:
    """What the database itself has to know, and the attachments."""
    from recado.db.pool import connect, open_pool
    from recado.db.schema import refuse, standing
    from recado.identity.callers import at_command_line
    from recado.media.stores import open_storage
    from recado.ops.backup import restore
    from recado.ops.privacy import ledger
    from recado.wiring import database

    async with AsyncExitStack() as stack:
        opening = database(settings, restoring=True)
        there = await asyncio.to_thread(opening.__enter__)
        stack.push_async_callback(asyncio.to_thread, opening.__exit__, None, None, None)
        platform = await stack.enter_async_context(await connect(there.platform_url, "recado_platform"))
        refuse((await standing(platform)).state)
        await restore.must_stand_still(platform)
        done = await restore.settle(platform, manifest, moment, caller=at_command_line(account_name()))
        storage = open_storage(settings)
        stack.push_async_callback(storage.aclose)
        await restore.put_ledger(storage, folder)
        pool = await stack.enter_async_context(open_pool(there.url, "recado_app", size=2))
        try:
            erased = await ledger.replay(pool, storage, keyring)
        except (ValueError, KeyError):
            raise RecadoError(
                f"an entry of the ledger of erasures can't be read: look under {UUID(int=0)} among the attachments"
            ) from None
        if erased.unreadable:
            _say(f"erasures that no present key opens, look at docs/explain/privacy.md: {erased.unreadable}")
        count = 0
        if manifest.media.kept == "copied":
            with progress("attachments", manifest.media.files) as advance:
                count = await restore.put_media(platform, storage, folder, said=advance)
        if missing := await restore.missing_media(platform, storage):
            _say(f"attachments that the database names and nobody has: {missing}")
    return replace(done, attachments=count, erased=erased.people)


@restore_commands.command("status")
def status(json: Json = False) -> None:
    """List the Twilio accounts that the last restore has silenced, and what became of each."""

    async def main(desk: Desk) -> list[Silence]:
        from recado.ops.backup import quarantine

        return await quarantine.accounts(desk.platform)

    _show(at_desk(main), as_json=json)


def _show(found: list[Silence], *, as_json: bool) -> None:
    rows = [
        (one.account_sid, one.owner, "speaks" if one.released_at else "silent", one.since, _why(one)) for one in found
    ]
    text = table(("ACCOUNT", "OWNER", "", "SINCE", ""), rows, empty="nothing was restored here, or nothing is silent")
    answer([{"id": str(one.account_id), **asdict(one)} for one in found], as_json=as_json, text=text)


def _why(one: Silence) -> str:
    if one.released_by == "unasked":
        return "released without asking Twilio"
    if one.released_at is None:
        return one.error or "`recado restore release`"
    return ", ".join(f"{word} {count}" for word, count in one.counts.items()) or "nothing had happened since"


@restore_commands.command("release")
def release(
    account: Annotated[
        str | None,
        typer.Option(metavar="AC...", help="Only this account; if not given, all of them.", callback=sid),
    ] = None,
    without_asking: Annotated[
        bool,
        typer.Option("--without-asking", help="Don't ask Twilio; needs --account. What waits may be said twice."),
    ] = False,
    json: Json = False,
) -> None:
    """Take in what Twilio lists since the moment of the restore, then let each account speak again.

    Exit code 1 while an account stays silent: the line says why, the same again goes on.
    """
    if without_asking and account is None:
        raise UsageError("--without-asking needs --account: it is a decision for each")

    async def main(desk: Desk) -> list[Silence]:
        from recado.identity import audit
        from recado.ops.backup import quarantine
        from recado.ops.backup import release as releasing

        silent = [one for one in await quarantine.accounts(desk.platform) if one.released_at is None]
        if account is not None:
            silent = [one for one in silent if one.account_sid == account]
            if not silent:
                raise NotFound(f"no silent Twilio account {account}: see `recado restore status`")
        if not await releasing.alone(desk.platform):
            raise Conflict("another `recado restore release` is running: wait for it")
        if without_asking:
            await releasing.without_asking(desk.platform, silent[0])
        elif silent:
            if (left_s := await releasing.settled_in(desk.platform)) > 0:
                _say(f"waiting {left_s:.0f} s for what was on its way")
                await asyncio.sleep(left_s)
            wiring = desk.wiring
            async with releasing.opened(
                wiring.settings,
                wiring.keyring,
                wiring.clock,
                url=wiring.database.url,
                platform=desk.platform,
                storage=wiring.storage,
            ) as tools:
                await releasing.release(tools, silent)
        told = {"accounts": [one.account_sid for one in silent], "asked": not without_asking}
        await audit.record(desk.platform, desk.caller, "release", "database", None, told)
        return await quarantine.accounts(desk.platform)

    found = at_desk(main)
    _show(found, as_json=json)
    if any(one.released_at is None and account in (None, one.account_sid) for one in found):
        raise typer.Exit(1)
