"""Commands for who may come in, and who did what: `users`, `keys`, `audit`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import (
    Desk,
    Json,
    Limit,
    OnlyOwner,
    OwnerId,
    answer,
    at_desk,
    check_owner,
    password_from_stdin,
    shown,
    table,
)
from recado.errors import NotFound, UsageError

if TYPE_CHECKING:
    from recado.identity.audit import Entry
    from recado.identity.keys import ApiKey
    from recado.identity.users import User, Where

users_commands = group("users", "The people who sign in.")
keys_commands = group("keys", "API keys: what programs sign in with.")
audit_commands = group("audit", "Who did what to which thing.")
app.add_typer(users_commands)
app.add_typer(keys_commands)
app.add_typer(audit_commands)

OwnerOrPlatform = Annotated[UUID | None, typer.Option("--owner", metavar="ID", help="The owner's id.")]
Platform = Annotated[bool, typer.Option("--platform", help="Platform administrators, who belong to no owner.")]
UserId = Annotated[UUID, typer.Argument(metavar="ID", help="The user's id.")]


@asynccontextmanager
async def _there(desk: Desk, owner: UUID | None) -> AsyncIterator[Where]:
    """A transaction for an owner's users, or for the platform's administrators."""
    if owner is None:
        async with desk.platform.transaction():
            yield desk.platform
        return
    from recado.db.scope import scoped

    await check_owner(desk, owner)
    async with scoped(desk.wiring.pool, owner) as scope:
        yield scope


def _one_of(owner: UUID | None, platform: bool) -> None:
    if (owner is None) != platform:
        raise UsageError("give --owner ID for an owner's users, or --platform for platform administrators")


@users_commands.command("add")
def add_user(
    email: Annotated[str, typer.Option(metavar="ADDRESS", help="The e-mail address they sign in with.")],
    owner: OwnerOrPlatform = None,
    platform: Platform = False,
    role: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="admin, operator or viewer; not needed with --platform, who are admin."),
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input; a terminal asks, hidden.")
    ] = False,
    invite: Annotated[
        bool, typer.Option("--invite", help="Print a token, once, with which they choose a password themselves.")
    ] = False,
    json: Json = False,
) -> None:
    """Add a user with a password, or invite one. A user who exists gets the password and the role."""
    _one_of(owner, platform)
    if password_stdin == invite:
        raise UsageError("give --password-stdin, or --invite to let them choose a password")
    if role is None:
        if not platform:
            raise UsageError("give --role: admin, operator or viewer")
        role = "admin"
    if invite:
        _invite(email, owner, role, json)
        return
    password = password_from_stdin()

    async def main(desk: Desk) -> tuple[User, list[ApiKey]]:
        from recado.identity import audit, passwords, users

        passwords.check_new(password, email=users.normal_email(email))
        hashed = await passwords.make_hash(password, salt=await users.salt_of(desk.platform, email))
        async with _there(desk, owner) as where:
            user, made = await users.put(
                where, email=email, role=role, password_hash=hashed, now=desk.wiring.clock.now()
            )
            action = "add" if made else "set_password"
            await audit.record(where, desk.caller, action, "user", str(user.id), {"role": user.role})
        return user, [] if user.role == "admin" else await _keys_of(desk, user.id)

    user, left = at_desk(main)
    text = f"user {user.id}  {user.email}  {user.role}{_left_behind(left)}"
    answer(asdict(user), as_json=json, text=text)


def _invite(email: str, owner: UUID | None, role: str, json: bool) -> None:
    async def main(desk: Desk) -> dict[str, Any]:
        from recado.identity import audit, invitations

        async with _there(desk, owner) as where:
            made, token = await invitations.make(
                where, email=email, role=role, by=desk.caller, now=desk.wiring.clock.now()
            )
            data = {"role": made.role, "resets_password": made.resets_password}
            await audit.record(where, desk.caller, "add", "invitation", str(made.id), data)
        return {
            "id": made.id,
            "owner_id": made.owner_id,
            "email": made.email,
            "role": made.role,
            "resets_password": made.resets_password,
            "invitation": token,
            "expires_at": made.expires_at,
        }

    made = at_desk(main)
    text = (
        f"invitation for {made['email']}, {made['role']}; works once, until {made['expires_at']:%Y-%m-%d %H:%M} UTC; "
        f"it is not shown again:\n{made['invitation']}"
    )
    answer(made, as_json=json, text=text)


@users_commands.command("list")
def list_users(owner: OwnerOrPlatform = None, platform: Platform = False, json: Json = False) -> None:
    """List an owner's users, or the platform administrators."""
    _one_of(owner, platform)

    async def main(desk: Desk) -> list[User]:
        from recado.identity import users

        async with _there(desk, owner) as where:
            return await users.list_(where)

    found = at_desk(main)
    rows = [(user.id, user.email, user.role, user.status, user.last_sign_in_at) for user in found]
    heads = ("ID", "E-MAIL", "ROLE", "STATUS", "LAST SIGN-IN (UTC)")
    answer([asdict(user) for user in found], as_json=json, text=table(heads, rows, empty="no user: `recado users add`"))


@users_commands.command("disable")
def disable_user(
    user: UserId,
    end_keys: Annotated[
        bool, typer.Option("--end-keys", help="Revoke the API keys that they made, and that such keys made, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Let a user in no more; their sessions and what they invited end at once. Says which of their API keys go on."""
    found, left, ended = _switch(user, on=False, end_keys=end_keys)
    text = f"{found.email} is disabled and signed out{_left_behind(left)}"
    for key in ended:
        text += f"\n{key.name} is revoked; every process knows within 30 seconds"
    made = {**asdict(found), "keys": [asdict(key) for key in left], "ended_keys": [asdict(key) for key in ended]}
    answer(made, as_json=json, text=text)


def _left_behind(keys: list[ApiKey]) -> str:
    """The lines about API keys that somebody made and that still work; empty if there are none."""
    if not keys:
        return ""
    lines = "".join(f"\n  {key.id}  {shown(key.name)}  {' '.join(key.scopes)}" for key in keys)
    return f"\nAPI keys of their making still work: `recado keys revoke ID`, or give --end-keys when you disable{lines}"


@users_commands.command("enable")
def enable_user(user: UserId, json: Json = False) -> None:
    """Let a disabled user in again, with the password they had."""
    found, *_ = _switch(user, on=True)
    answer(asdict(found), as_json=json, text=f"{found.email} may sign in again")


def _switch(user_id: UUID, *, on: bool, end_keys: bool = False) -> tuple[User, list[ApiKey], list[ApiKey]]:
    """The user, the keys of their making that still work, and those that were ended."""

    async def main(desk: Desk) -> tuple[User, list[ApiKey], list[ApiKey]]:
        from recado.identity import audit, users

        async with _there(desk, await _owner_of(desk, "users", user_id, "user")) as where:
            before = await users.get(where, user_id)
            switch = users.enable if on else users.disable
            user = await switch(where, user_id, now=desk.wiring.clock.now())
            if user.status != before.status:
                await audit.record(where, desk.caller, "enable" if on else "disable", "user", str(user_id))
        ended = await _end_keys_of(desk, user_id) if end_keys else []
        return user, await _keys_of(desk, user_id), ended

    return at_desk(main)


async def _keys_of(desk: Desk, maker_id: UUID) -> list[ApiKey]:
    """The keys that still work of those that this user or key made, or that such a key made, of whatever owner."""
    from recado.db.scope import Scope
    from recado.identity import authority, keys

    now, found = desk.wiring.clock.now(), []
    for owner_id in await authority.owners_of_keys(desk.platform, maker_id, now=now):
        found += await keys.made_by(Scope(desk.platform, owner_id), maker_id, now=now)
    return found


async def _end_keys_of(desk: Desk, maker_id: UUID) -> list[ApiKey]:
    from recado.db.scope import scoped
    from recado.identity import audit, keys

    ended = []
    for key in await _keys_of(desk, maker_id):
        async with scoped(desk.wiring.pool, key.owner_id) as where:
            ended.append(await keys.revoke(where, key.id, now=desk.wiring.clock.now()))
            await audit.record(where, desk.caller, "revoke", "api_key", str(key.id), {"name": key.name})
    return ended


async def _owner_of(desk: Desk, table_name: str, row_id: UUID, what: str) -> UUID | None:
    cursor = await desk.platform.execute(f"SELECT owner_id FROM {table_name} WHERE id = %s", [row_id])  # noqa: S608 - ours
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no {what} {row_id}")
    owner_id: UUID | None = row["owner_id"]
    return owner_id


@keys_commands.command("add")
def add_key(
    owner: OwnerId,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is for.")],
    scope: Annotated[list[str], typer.Option(metavar="SCOPE", help="read, write, webhooks or admin; may be repeated.")],
    expires_days: Annotated[
        int | None,
        typer.Option(min=1, metavar="DAYS", help="Days until it ends, 3650 at most; if not given, it does not."),
    ] = None,
    json: Json = False,
) -> None:
    """Make an API key and show it, once. Repeated, it makes another."""

    async def main(desk: Desk) -> tuple[ApiKey, str]:
        from recado.db.scope import scoped
        from recado.identity import audit, keys

        await check_owner(desk, owner)
        until = keys.end_in(expires_days, now=desk.wiring.clock.now()) if expires_days is not None else None
        async with scoped(desk.wiring.pool, owner) as where:
            made, text = await keys.make(where, name=name, scopes=scope, expires_at=until, by=desk.caller)
            data = {"name": made.name, "scopes": made.scopes}
            await audit.record(where, desk.caller, "add", "api_key", str(made.id), data)
        return made, text

    made, key = at_desk(main)
    text = f"API key {made.id}  {made.name}  {' '.join(made.scopes)}; it is not shown again:\n{key}"
    answer({**asdict(made), "key": key}, as_json=json, text=text)


@keys_commands.command("list")
def list_keys(owner: OwnerId, json: Json = False) -> None:
    """List an owner's API keys with how each begins, its scopes, who made it and when it was last used."""

    async def main(desk: Desk) -> list[ApiKey]:
        from recado.db.scope import scoped
        from recado.identity import keys

        await check_owner(desk, owner)
        async with scoped(desk.wiring.pool, owner) as where:
            return await keys.list_(where)

    found = at_desk(main)
    rows = [
        (
            *(key.id, key.name, key.hint + "...", " ".join(key.scopes)),
            f"{key.made_by_kind} {key.made_by_name or ''}".strip() if key.made_by_kind else None,
            *(key.expires_at, key.last_used_at, key.revoked_at),
        )
        for key in found
    ]
    heads = ("ID", "NAME", "KEY", "SCOPES", "MADE BY", "ENDS (UTC)", "LAST USED (UTC)", "REVOKED (UTC)")
    answer([asdict(key) for key in found], as_json=json, text=table(heads, rows, empty="no key: `recado keys add`"))


@keys_commands.command("revoke")
def revoke_key(
    key: Annotated[UUID, typer.Argument(metavar="ID", help="The key's id.")],
    end_keys: Annotated[
        bool, typer.Option("--end-keys", help="Revoke the keys that it made, and that such keys made, too.")
    ] = False,
    json: Json = False,
) -> None:
    """End an API key for good, and its invitations; every process knows within 30 seconds."""

    async def main(desk: Desk) -> tuple[ApiKey, list[ApiKey], list[ApiKey]]:
        from recado.db.scope import scoped
        from recado.identity import audit, keys

        owner_id = await _owner_of(desk, "api_keys", key, "API key")
        assert owner_id is not None  # noqa: S101 - a key has an owner
        async with scoped(desk.wiring.pool, owner_id) as where:
            now = desk.wiring.clock.now()
            revoked = await keys.revoke(where, key, now=now)
            if revoked.revoked_at == now:
                await audit.record(where, desk.caller, "revoke", "api_key", str(key), {"name": revoked.name})
        ended = await _end_keys_of(desk, key) if end_keys else []
        return revoked, await _keys_of(desk, key), ended

    revoked, left, ended = at_desk(main)
    text = f"{revoked.name} is revoked; every process knows within 30 seconds"
    if left:
        text += "\nkeys that it made still work: " + " ".join(str(one.id) for one in left)
    made = {**asdict(revoked), "keys": [asdict(one) for one in left], "ended_keys": [asdict(one) for one in ended]}
    answer(made, as_json=json, text=text)


@audit_commands.command("list")
def list_audit(
    owner: OnlyOwner = None,
    limit: Limit = 200,
    json: Json = False,
) -> None:
    """List what was done, by whom, newest first."""

    async def main(desk: Desk) -> list[Entry]:
        from recado.identity import audit

        await check_owner(desk, owner)
        return await audit.entries(desk.platform, owner_id=owner, limit=limit)

    found = at_desk(main)
    rows = [
        (
            entry.at,
            f"{entry.caller_kind} {entry.caller_name}",
            entry.action,
            entry.thing,
            entry.thing_id,
            entry.owner_id,
        )
        for entry in found
    ]
    heads = ("AT (UTC)", "WHO", "ACTION", "THING", "ID", "OWNER")
    answer([asdict(entry) for entry in found], as_json=json, text=table(heads, rows, empty="nothing was done yet"))
