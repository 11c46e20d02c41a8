"""Commands about where an owner's events are posted: `webhooks`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from uuid import UUID

import typer

from recado.cli.app import app, group
from recado.cli.terminal import Desk, Json, OnlyOwner, OwnerId, answer, at_desk, check_owner, table
from recado.errors import NotFound, UsageError

if TYPE_CHECKING:
    from recado.db.scope import Scope
    from recado.webhooks.endpoints import Attempt, Webhook
    from recado.webhooks.post import Posted

T = TypeVar("T")

webhooks_commands = group("webhooks", "Where owners have their events posted, signed as standardwebhooks.com says.")
app.add_typer(webhooks_commands)

WebhookId = Annotated[UUID, typer.Argument(metavar="ID", help="The webhook's id, of `recado webhooks list`.")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", help="As confirm.delivered or deliver.*; may be repeated. None: all."),
]


@webhooks_commands.command("add")
def add_webhook(
    owner: OwnerId,
    url: Annotated[str, typer.Option(metavar="URL", help="Where events are posted: https, to the public internet.")],
    type: Types = None,  # noqa: A002 - the option's name
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.")] = None,
    json: Json = False,
) -> None:
    """Add an endpoint and show its secret, once; it gets what happens from now on. Repeated, it adds another."""

    async def main(desk: Desk) -> tuple[Webhook, str]:
        from recado.db.scope import scoped
        from recado.identity import audit
        from recado.webhooks import endpoints

        await check_owner(desk, owner)
        wiring = desk.wiring
        async with scoped(wiring.pool, owner) as scope:
            made, secret = await endpoints.add(
                scope,
                wiring.keyring,
                url=url,
                types=type or (),
                description=description or "",
                networks=wiring.settings.webhook_networks,
            )
            await audit.record(scope, desk.caller, "add", "webhook", str(made.id), {"types": made.types})
        return made, secret

    made, secret = at_desk(main)
    text = f"webhook {made.id}  {made.url}; its secret is not shown again:\n{secret}"
    answer({"owner_id": owner, **_shown(made), "secret": secret}, as_json=json, text=text)


@webhooks_commands.command("list")
def list_webhooks(owner: OnlyOwner = None, json: Json = False) -> None:
    """List the endpoints, whether they get what happens, and why not."""

    async def main(desk: Desk) -> list[tuple[UUID, Webhook]]:
        from recado.db.scope import scoped
        from recado.webhooks import endpoints

        await check_owner(desk, owner)
        owners = await (
            await desk.platform.execute(
                "SELECT DISTINCT owner_id FROM webhooks WHERE %(owner)s::uuid IS NULL OR owner_id = %(owner)s "
                "ORDER BY owner_id",
                {"owner": owner},
            )
        ).fetchall()
        found = []
        for row in owners:
            async with scoped(desk.wiring.pool, row["owner_id"]) as scope:
                page = await endpoints.page(scope, after=None, limit=endpoints.MOST)
                found += [(row["owner_id"], webhook) for webhook in page]
        return found

    found = at_desk(main)
    rows = [
        (
            *(webhook.id, webhook.url, " ".join(webhook.types) or "all", _state(webhook)),
            *(webhook.waiting, webhook.last_success_at, webhook.description),
        )
        for _, webhook in found
    ]
    heads = ("ID", "URL", "TYPES", "STATE", "WAITING", "LAST TAKEN (UTC)", "DESCRIPTION")
    text = table(heads, rows, empty="no webhook: `recado webhooks add`")
    answer([{"owner_id": of, **_shown(webhook)} for of, webhook in found], as_json=json, text=text)


@webhooks_commands.command("remove")
def remove_webhook(webhook: WebhookId, json: Json = False) -> None:
    """Remove an endpoint: it gets nothing more, and what waited for it is forgotten."""

    async def work(desk: Desk, scope: Scope) -> Webhook:
        from recado.identity import audit
        from recado.webhooks import endpoints

        gone = await endpoints.remove(scope, webhook)
        await audit.record(scope, desk.caller, "remove", "webhook", str(webhook))
        return gone

    owner, gone = _with(webhook, work)
    answer({"owner_id": owner, **_shown(gone)}, as_json=json, text=f"webhook {gone.id}  removed")


@webhooks_commands.command("enable")
def enable_webhook(webhook: WebhookId, json: Json = False) -> None:
    """Let an endpoint that was disabled go on where it stood."""
    _set_status(webhook, "enabled", as_json=json)


@webhooks_commands.command("disable")
def disable_webhook(webhook: WebhookId, json: Json = False) -> None:
    """Post nothing more to an endpoint; what waits for it is kept."""
    _set_status(webhook, "disabled", as_json=json)


@webhooks_commands.command("test")
def try_webhook(webhook: WebhookId, json: Json = False) -> None:
    """Post a signed test to an endpoint, a disabled one too. Exit code 1 unless it took it."""

    async def main(desk: Desk) -> Posted:
        from recado.webhooks.post import Poster
        from recado.webhooks.trial import post_test

        owner, wiring = await _owner_of(desk, webhook), desk.wiring
        poster = Poster(wiring.settings.webhook_networks)
        try:
            return await post_test(wiring.pool, wiring.keyring, wiring.clock, poster, owner, webhook)
        finally:
            await poster.aclose()

    posted = at_desk(main)
    from recado.webhooks.post import OUTCOMES

    status = "" if posted.http_status is None else f" (HTTP {posted.http_status})"
    means = OUTCOMES[posted.outcome].split(": ")[0].rstrip(".")
    text = f"{posted.outcome}{status} in {posted.duration_ms} ms: {means}"
    shown = {"outcome": posted.outcome, "http_status": posted.http_status, "duration_ms": posted.duration_ms}
    answer({"id": webhook, **shown}, as_json=json, text=text)
    if not posted.delivered:
        raise typer.Exit(1)


@webhooks_commands.command("attempts")
def list_attempts(webhook: WebhookId, json: Json = False) -> None:
    """List the last posts to an endpoint and what became of them, newest first."""

    async def work(_: Desk, scope: Scope) -> list[Attempt]:
        from recado.webhooks import endpoints

        return await endpoints.attempts(scope, webhook)

    _, found = _with(webhook, work)
    rows = [(one.at, one.type, one.event_id, one.outcome, one.http_status, f"{one.duration_ms} ms") for one in found]
    text = table(("AT (UTC)", "TYPE", "EVENT", "OUTCOME", "HTTP", "TOOK"), rows, empty="nothing was posted yet")
    answer([asdict(one) for one in found], as_json=json, text=text)


@webhooks_commands.command("replay")
def replay_webhook(
    webhook: WebhookId,
    since: Annotated[str, typer.Option(metavar="TIME", help="As in 2026-11-28T06:00Z; without an offset it is UTC.")],
    json: Json = False,
) -> None:
    """Have an endpoint get what happened since a moment once more, with the same ids, and go on from there."""
    try:
        moment = datetime.fromisoformat(since.strip())
    except ValueError:
        raise UsageError("--since takes a time as in 2026-11-28T06:00Z") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

    async def work(desk: Desk, scope: Scope) -> Webhook:
        from recado.identity import audit
        from recado.webhooks import endpoints

        found = await endpoints.replay(scope, webhook, moment, now=desk.wiring.clock.now())
        await audit.record(scope, desk.caller, "replay", "webhook", str(webhook), {"since": moment.isoformat()})
        return found

    owner, found = _with(webhook, work)
    text = f"webhook {found.id}  gets again what happened since {moment:%Y-%m-%d %H:%M:%S %Z}"
    answer({"owner_id": owner, **_shown(found)}, as_json=json, text=text)


@webhooks_commands.command("rotate")
def rotate_secret(
    webhook: WebhookId,
    keep_hours: Annotated[
        int, typer.Option(min=0, max=168, metavar="HOURS", help="How long the secret before signs too; 0: it ends.")
    ] = 24,
    json: Json = False,
) -> None:
    """Give an endpoint a new secret and show it, once; meanwhile posts carry a signature of each of the two."""

    async def work(desk: Desk, scope: Scope) -> tuple[Webhook, str]:
        from recado.identity import audit
        from recado.webhooks import endpoints

        found = await endpoints.rotate(
            scope, desk.wiring.keyring, webhook, keep=timedelta(hours=keep_hours), now=desk.wiring.clock.now()
        )
        await audit.record(scope, desk.caller, "rotate", "webhook", str(webhook), {"keep_hours": keep_hours})
        return found

    owner, (found, secret) = _with(webhook, work)
    text = f"webhook {found.id}  has a new secret, which is not shown again:\n{secret}"
    answer({"owner_id": owner, **_shown(found), "secret": secret}, as_json=json, text=text)


def _set_status(webhook: UUID, status: Literal["enabled", "disabled"], *, as_json: bool) -> None:
    async def work(desk: Desk, scope: Scope) -> Webhook:
        from recado.identity import audit
        from recado.webhooks import endpoints

        before = await endpoints.get(scope, webhook, lock=True)
        after = await endpoints.change(scope, before, status=status)
        if after.version != before.version:
            await audit.record(scope, desk.caller, "change", "webhook", str(webhook), {"changed": ["status"]})
        return after

    owner, found = _with(webhook, work)
    answer({"owner_id": owner, **_shown(found)}, as_json=as_json, text=f"webhook {found.id}  {_state(found)}")


def _with(webhook: UUID, work: Callable[[Desk, Scope], Awaitable[T]]) -> tuple[UUID, T]:
    """The webhook's owner, and what `work` gives in a transaction that sees that owner's rows."""

    async def main(desk: Desk) -> tuple[UUID, T]:
        from recado.db.scope import scoped

        owner = await _owner_of(desk, webhook)
        async with scoped(desk.wiring.pool, owner) as scope:
            return owner, await work(desk, scope)

    return at_desk(main)


async def _owner_of(desk: Desk, webhook: UUID) -> UUID:
    row = await (await desk.platform.execute("SELECT owner_id FROM webhooks WHERE id = %s", [webhook])).fetchone()
    if row is None:
        raise NotFound(f"no webhook {webhook}: see `recado webhooks list`")
    owner: UUID = row["owner_id"]
    return owner


def _state(webhook: Webhook) -> str:
    from recado.webhooks.endpoints import WHYS

    if webhook.disabled_why is not None:
        return f"disabled: {WHYS[webhook.disabled_why]}"
    return "enabled" if webhook.failing_since is None else f"failing since {webhook.failing_since:%Y-%m-%d %H:%M}"


def _shown(webhook: Webhook) -> dict[str, Any]:
    shown = asdict(webhook)
    shown["previous_secret_until"] = shown.pop("previous_until")
    return shown
