"""Commands that set an owner up: `owners`, `accounts`, `numbers`. Repeated, each finds what it made before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import (
    Desk,
    Json,
    OnlyOwner,
    OwnerId,
    answer,
    at_desk,
    check_owner,
    secret_from_stdin,
    sid,
    table,
)
from recado.errors import NotFound, UsageError

if TYPE_CHECKING:
    from recado.channels.twilio.listing import TwilioAccount
    from recado.identity.owners import Owner

owners_commands = group("owners", "The companies whose numbers and assistants these are.")
accounts_commands = group("accounts", "Their Twilio accounts.")
numbers_commands = group("numbers", "The accounts' WhatsApp numbers.")
app.add_typer(owners_commands)
app.add_typer(accounts_commands)
app.add_typer(numbers_commands)

AccountSid = Annotated[
    str, typer.Option("--account", metavar="AC...", help="The Twilio account's AccountSid.", callback=sid)
]
TokenOnStdin = Annotated[
    bool,
    typer.Option("--auth-token-stdin", help="Read the auth token from standard input; a terminal asks, hidden."),
]
TokenReference = Annotated[
    str | None,
    typer.Option(
        "--auth-token-ref",
        metavar="REFERENCE",
        help="Instead: where the token is kept, env:NAME, file:/path or vault:mount/path#field.",
    ),
]
TOKEN = "the auth token"  # noqa: S105 - its name


@owners_commands.command("add")
def add_owner(name: Annotated[str, typer.Argument(help="The company's name.")], json: Json = False) -> None:
    """Add an owner, or find the one of that name; the answer says which (`made` in the JSON)."""

    async def main(desk: Desk) -> tuple[Owner, bool]:
        from recado.identity import audit, owners

        async with desk.platform.transaction():
            owner, made = await owners.put(desk.platform, name)
            if made:
                await audit.record(desk.platform, desk.caller, "add", "owner", str(owner.id), owner_id=owner.id)
        return owner, made

    owner, made = at_desk(main)
    text = f"owner {owner.id}  {owner.name}  {'made' if made else 'was there'}"
    answer({**_owner(owner), "made": made}, as_json=json, text=text)


@owners_commands.command("suspend")
def suspend(owner: Annotated[UUID, typer.Argument(metavar="ID", help="The owner's id.")], json: Json = False) -> None:
    """Have an owner's messages accepted and held, not answered."""
    found = _set_status(owner, "suspended")
    answer(_owner(found), as_json=json, text=f"{found.name} is suspended: messages are held, nothing is answered")


@owners_commands.command("activate")
def activate(owner: Annotated[UUID, typer.Argument(metavar="ID", help="The owner's id.")], json: Json = False) -> None:
    """End an owner's suspension. What was held meanwhile is answered by itself, if it is not older than 24 hours."""
    found = _set_status(owner, "active")
    text = (
        f"{found.name} is active: messages are answered again, and those of the last 24 hours that were held meanwhile"
    )
    answer(_owner(found), as_json=json, text=text)


def _set_status(owner_id: UUID, status: Literal["active", "suspended"]) -> Owner:
    async def main(desk: Desk) -> Owner:
        from recado.identity import audit, owners

        action = "suspend" if status == "suspended" else "activate"
        async with desk.platform.transaction():
            before = await owners.get(desk.platform, owner_id)
            owner = await owners.set_status(desk.platform, owner_id, status)
            if before.status != owner.status:
                await audit.record(desk.platform, desk.caller, action, "owner", str(owner_id), owner_id=owner_id)
        return owner

    return at_desk(main)


@owners_commands.command("list")
def list_owners(json: Json = False) -> None:
    """List the owners, oldest first."""

    async def main(desk: Desk) -> list[Owner]:
        from recado.identity import owners

        return await owners.all_of_them(desk.platform)

    found = at_desk(main)
    rows = [(owner.id, owner.name, owner.status, owner.created_at) for owner in found]
    text = table(("ID", "NAME", "STATUS", "ADDED (UTC)"), rows, empty="no owner yet: `recado owners add NAME`")
    answer([_owner(owner) for owner in found], as_json=json, text=text)


def _owner(owner: Owner) -> dict[str, Any]:
    return {"id": owner.id, "name": owner.name, "status": owner.status, "created_at": owner.created_at}


@accounts_commands.command("add")
def add_account(
    owner: OwnerId,
    account_sid: Annotated[str, typer.Option("--account-sid", metavar="AC...", help="The AccountSid.", callback=sid)],
    auth_token_stdin: TokenOnStdin = False,
    auth_token_ref: TokenReference = None,
    json: Json = False,
) -> None:
    """Add a Twilio account to an owner, or replace its auth token, which is tried at Twilio before it is stored.

    It is stored encrypted, or by reference. Where Twilio can't be reached the account is added unproven: it works, and
    given again later it is proven; until then whoever proves that it is theirs gets it.
    """
    if auth_token_stdin == (auth_token_ref is not None):
        raise UsageError(
            "the auth token comes on standard input (add --auth-token-stdin and pipe it in), or as --auth-token-ref"
        )
    token = secret_from_stdin(TOKEN) if auth_token_stdin else None

    async def main(desk: Desk) -> TwilioAccount:
        from recado.channels.twilio import accounts, listing, proof
        from recado.db.scope import scoped
        from recado.identity import audit

        await check_owner(desk, owner)
        secret = accounts.Secret(token, auth_token_ref)
        verdict = await proof.prove(account_sid, secret, api_url=desk.wiring.settings.twilio_api_url)
        if verdict == "refused":
            raise UsageError(f"{proof.REFUSED}: nothing was saved")
        proven_at = desk.wiring.clock.now() if verdict == "proven" else None
        async with scoped(desk.wiring.pool, owner) as scope:
            saved = await accounts.add_account(
                scope,
                desk.wiring.keyring,
                account_sid=account_sid,
                auth_token=token,
                auth_token_ref=auth_token_ref,
                proven_at=proven_at,
            )
            found = await listing.account(scope, saved.id)
            if saved.outcome != "same":
                data = {"account_sid": account_sid, "proven": found.proven}
                action = "add" if saved.outcome == "made" else "change"
                await audit.record(scope, desk.caller, action, "twilio_account", str(saved.id), data)
            return found

    found = at_desk(main)
    made = {"id": found.id, "owner_id": owner, "account_sid": account_sid, "proven": found.proven}
    text = f"Twilio account {found.id}  {account_sid}"
    if not found.proven:
        text += (
            "\nunproven: Twilio could not be asked whether AccountSid and token belong together. It works; give the\n"
            "same command again later. Until then another owner who proves that it is theirs gets it."
        )
    answer(made, as_json=json, text=text)


@accounts_commands.command("remove")
def remove_account(account: AccountSid, json: Json = False) -> None:
    """Give a Twilio account up: its secrets are deleted, its webhooks refused; what it has stays and is shown.

    Its numbers are unrouted and what waits to be sent is held. Added again, it is the same account.
    """

    async def main(desk: Desk) -> dict[str, Any]:
        from recado.channels.twilio import accounts
        from recado.db.scope import scoped
        from recado.identity import audit

        found = await _account(desk, account)
        async with scoped(desk.wiring.pool, found["owner_id"]) as scope:
            now = desk.wiring.clock.now()
            account_id = await accounts.remove_account(scope, account_sid=account, now=now)
            data = {"account_sid": account}
            await audit.record(scope, desk.caller, "remove", "twilio_account", str(account_id), data)
        return {"id": account_id, "owner_id": found["owner_id"], "account_sid": account, "removed_at": now}

    done = at_desk(main)
    answer(done, as_json=json, text=f"{account} is removed: its webhooks are refused, nothing is sent with it")


@accounts_commands.command("list")
def list_accounts(owner: OnlyOwner = None, json: Json = False) -> None:
    """List the Twilio accounts, removed ones too; a second token means that a rotation is under way."""

    async def main(desk: Desk) -> list[dict[str, Any]]:
        await check_owner(desk, owner)
        cursor = await desk.platform.execute(
            """
            SELECT a.id, a.owner_id, o.name AS owner, a.account_sid, a.auth_token_ref, a.api_key_sid, a.public_url,
                   num_nonnulls(a.secondary_token, a.secondary_token_ref) > 0 AS rotating,
                   a.proven_at IS NOT NULL AS proven, a.removed_at, a.removed_why,
                   (SELECT count(*) FROM numbers n WHERE n.owner_id = a.owner_id AND n.account_id = a.id) AS numbers,
                   a.created_at, a.updated_at
            FROM twilio_accounts a JOIN owners o ON o.id = a.owner_id
            WHERE %(owner)s::uuid IS NULL OR a.owner_id = %(owner)s
            ORDER BY o.name, a.id
            """,
            {"owner": owner},
        )
        return await cursor.fetchall()

    found = at_desk(main)
    rows = [
        (
            *(row["id"], row["account_sid"], row["owner"], row["numbers"], "yes" if row["rotating"] else "no"),
            row["removed_why"] or ("proven" if row["proven"] else "unproven"),
        )
        for row in found
    ]
    heads = ("ID", "ACCOUNT SID", "OWNER", "NUMBERS", "ROTATING", "STATE")
    text = table(heads, rows, empty="no account yet: `recado accounts add`")
    answer(found, as_json=json, text=text)


@accounts_commands.command("rotate")
def rotate(
    account: AccountSid,
    auth_token_stdin: TokenOnStdin = False,
    auth_token_ref: TokenReference = None,
    finish: Annotated[bool, typer.Option("--finish", help="Make the second token the only one.")] = False,
    json: Json = False,
) -> None:
    """Change an account's auth token without a gap: first a second token beside the first, then it alone."""
    if [auth_token_stdin, auth_token_ref is not None, finish].count(True) != 1:
        raise UsageError(
            "give the new token with --auth-token-stdin or --auth-token-ref, and later --finish; one at a time"
        )
    token = secret_from_stdin(TOKEN) if auth_token_stdin else None

    async def main(desk: Desk) -> dict[str, Any]:
        from recado.channels.twilio import accounts
        from recado.db.scope import scoped
        from recado.identity import audit

        found = await _account(desk, account)
        async with scoped(desk.wiring.pool, found["owner_id"]) as scope:
            changed = await accounts.rotate_token(
                scope, desk.wiring.keyring, account_sid=account, auth_token=token, auth_token_ref=auth_token_ref
            )
            if changed:
                action = "finish_rotation" if finish else "rotate"
                await audit.record(scope, desk.caller, action, "twilio_account", str(found["id"]))
        return {"id": found["id"], "owner_id": found["owner_id"], "account_sid": account, "rotating": not finish}

    done = at_desk(main)
    text = (
        "From now on only the new token counts; every process knows."
        if finish
        else "Both tokens count now, and messages are sent with the new one; every process knows.\n"
        "Next: promote the secondary token in Twilio's console, then run\n"
        f"  recado accounts rotate --account {account} --finish"
    )
    answer(done, as_json=json, text=text)


@accounts_commands.command("set")
def set_account(
    account: AccountSid,
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where Twilio calls this account's webhooks; '' goes back to RECADO_PUBLIC_URL."
        ),
    ] = None,
    api_key_sid: Annotated[
        str | None,
        typer.Option(metavar="SK...", help="Send with this API key; '' goes back to the auth token.", callback=sid),
    ] = None,
    api_key_secret_stdin: Annotated[
        bool, typer.Option("--api-key-secret-stdin", help="Read the API key's secret from standard input.")
    ] = False,
    api_key_secret_ref: Annotated[
        str | None, typer.Option(metavar="REFERENCE", help="Instead: where the secret is kept, like --auth-token-ref.")
    ] = None,
    json: Json = False,
) -> None:
    """Change how an account is called and sent with; what is not given stays."""
    if public_url is None and api_key_sid is None and not api_key_secret_stdin and api_key_secret_ref is None:
        raise UsageError("nothing to set: give --public-url, or --api-key-sid with its secret")
    if bool(api_key_sid) != (api_key_secret_stdin or api_key_secret_ref is not None):
        raise UsageError("an API key is its SID and its secret: --api-key-sid with --api-key-secret-stdin or -ref")
    if api_key_secret_stdin and api_key_secret_ref is not None:
        raise UsageError("give the secret once: --api-key-secret-stdin or --api-key-secret-ref")
    value = secret_from_stdin("the API key's secret") if api_key_secret_stdin else None

    async def main(desk: Desk) -> dict[str, Any]:
        from recado.channels.twilio import accounts
        from recado.db.scope import scoped
        from recado.identity import audit

        found = await _account(desk, account)
        async with scoped(desk.wiring.pool, found["owner_id"]) as scope:
            changed = False
            if public_url is not None:
                changed = await accounts.set_public_url(scope, account_sid=account, public_url=public_url or None)
            if api_key_sid is not None:
                secret = accounts.Secret(value, api_key_secret_ref) if api_key_sid else None
                changed |= await accounts.set_api_key(
                    scope, desk.wiring.keyring, account_sid=account, key_sid=api_key_sid, secret=secret
                )
            if changed:
                data = {"public_url": public_url, "api_key_sid": api_key_sid}
                await audit.record(scope, desk.caller, "change", "twilio_account", str(found["id"]), data)
            cursor = await scope.conn.execute(
                "SELECT id, owner_id, account_sid, public_url, api_key_sid FROM twilio_accounts WHERE id = %s",
                [found["id"]],
            )
            [row] = await cursor.fetchall()
            return row

    done = at_desk(main)
    sends = done["api_key_sid"] or "the auth token"
    text = f"{account}  called at {done['public_url'] or 'RECADO_PUBLIC_URL'}, sends with {sends}"
    answer(done, as_json=json, text=text)


@numbers_commands.command("add")
def add_number(
    account: AccountSid,
    address: Annotated[str, typer.Option(metavar="whatsapp:+E164", help="The WhatsApp sender.")],
    assistant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who answers; if not given, the owner's default assistant.")
    ] = None,
    json: Json = False,
) -> None:
    """Add a number to a Twilio account; what waits for an unrouted one (for a day at most) is answered then.

    It is proven once Twilio lists it among the account's senders. Until then it works all the same.
    """

    async def main(desk: Desk) -> dict[str, Any]:
        from recado.assistants import assistant as assistants
        from recado.channels.twilio import accounts, numbers, proof
        from recado.db.scope import scoped
        from recado.identity import audit

        known, wiring = await _account(desk, account), desk.wiring
        owner_id, settings = known["owner_id"], wiring.settings
        url = settings.twilio_messaging_url or settings.twilio_api_url
        listed = await proof.senders_of_ours(wiring.pool, wiring.keyring, owner_id, known["id"], messaging_url=url)
        async with scoped(wiring.pool, owner_id) as scope:
            default = await assistants.ensure_default(scope)
            named = await assistants.get(scope, assistant) if assistant is not None else default
            saved = await accounts.add_number(scope, account_sid=account, address=address, assistant_id=named.id)
            before = after = await numbers.listed(scope, saved.id, lock=True)
            if assistant is not None:
                # Adding leaves the assistant of a known number alone; naming one changes it.
                after = await numbers.change(scope, before, assistant_id=named.id)
            if saved.outcome != "same" or after != before:
                action = "add" if saved.outcome == "made" else "change"
                await audit.record(scope, desk.caller, action, "number", str(saved.id), {"address": after.address})
            await proof.keep_senders(scope, known["id"], listed, now=wiring.clock.now())
        return await _number(desk, saved.id)

    made = at_desk(main)
    text = f"number {made['id']}  {made['address']}  answered by {made['assistant']}"
    answer(made, as_json=json, text=text)


@numbers_commands.command("list")
def list_numbers(owner: OnlyOwner = None, json: Json = False) -> None:
    """List the numbers, also those that got messages without having been added (unrouted)."""

    async def main(desk: Desk) -> list[dict[str, Any]]:
        await check_owner(desk, owner)
        cursor = await desk.platform.execute(
            _NUMBERS + "WHERE %(owner)s::uuid IS NULL OR n.owner_id = %(owner)s ORDER BY o.name, n.address",
            {"owner": owner},
        )
        return await cursor.fetchall()

    found = at_desk(main)
    rows = [
        (
            *(row["id"], row["address"], row["status"], "yes" if row["proven"] else "no", row["assistant"]),
            *(row["account_sid"], row["owner"]),
        )
        for row in found
    ]
    text = table(
        ("ID", "ADDRESS", "STATUS", "PROVEN", "ASSISTANT", "ACCOUNT SID", "OWNER"),
        rows,
        empty="no number yet: `recado numbers add`",
    )
    answer(found, as_json=json, text=text)


_NUMBERS = """
SELECT n.id, n.owner_id, o.name AS owner, a.account_sid, n.address, n.status, s.name AS assistant,
       n.proven_at IS NOT NULL AS proven, n.created_at
FROM numbers n
JOIN owners o ON o.id = n.owner_id
JOIN twilio_accounts a ON a.owner_id = n.owner_id AND a.id = n.account_id
LEFT JOIN assistants s ON s.owner_id = n.owner_id AND s.id = n.assistant_id
"""


async def _number(desk: Desk, number_id: UUID) -> dict[str, Any]:
    row = await (await desk.platform.execute(_NUMBERS + "WHERE n.id = %s", [number_id])).fetchone()
    if row is None:
        raise NotFound("the number is gone")
    return row


async def _account(desk: Desk, account_sid: str) -> dict[str, Any]:
    cursor = await desk.platform.execute("SELECT id, owner_id FROM account_by_sid(%s)", [account_sid])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no Twilio account {account_sid}: see `recado accounts list`")
    return row
