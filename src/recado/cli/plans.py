"""Commands about what owners may use and have used: `plans`, `owners plan`, `usage`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recado.cli.app import app, group
from recado.cli.setup import owners_commands
from recado.cli.terminal import Desk, Json, OnlyOwner, OwnerId, answer, at_desk, check_owner, table
from recado.errors import UsageError

if TYPE_CHECKING:
    from recado.identity.plans import Plan, Used

plans_commands = group("plans", "Monthly limits that owners can be put on.")
app.add_typer(plans_commands)

Limit = Annotated[int | None, typer.Option(min=0, help="Most in a month; without it, no limit.")]
DOLLAR = MB = 1_000_000


@plans_commands.command("add")
def add_plan(
    name: Annotated[str, typer.Argument(help="The plan's name.")],
    messages: Limit = None,
    model_tokens: Limit = None,
    transcription_seconds: Limit = None,
    money: Annotated[
        str | None, typer.Option(metavar="USD", help="Most that models may cost in a month, for instance 12.50.")
    ] = None,
    stored_mb: Annotated[
        int | None, typer.Option(min=0, help="Most of attachments kept at a time, in MB; without it, no limit.")
    ] = None,
    soft_share: Annotated[float, typer.Option(help="Share of a limit at which an event warns.")] = 0.8,
    at_limit: Annotated[
        Literal["keyless", "people"], typer.Option(help="Who answers once a limit is reached.")
    ] = "keyless",
    json: Json = False,
) -> None:
    """Add a plan, or change the one of that name to these limits."""
    micros = None if money is None else _micros(money)

    async def main(desk: Desk) -> Plan:
        from recado.identity import audit, plans

        async with desk.platform.transaction():
            before = await plans.all_of_them(desk.platform)
            plan = await plans.add(
                desk.platform,
                name,
                messages=messages,
                model_tokens=model_tokens,
                transcription_seconds=transcription_seconds,
                money=micros,
                stored_bytes=None if stored_mb is None else stored_mb * MB,
                soft_share=soft_share,
                hard_action=at_limit,
            )
            limits = {key: value for key, value in _plan(plan).items() if key != "id"}
            if plan not in before:
                action = "change" if any(known.id == plan.id for known in before) else "add"
                await audit.record(desk.platform, desk.caller, action, "plan", str(plan.id), limits)
        return plan

    plan = at_desk(main)
    answer(_plan(plan), as_json=json, text=f"plan {plan.id}  {plan.name}")


@plans_commands.command("list")
def list_plans(json: Json = False) -> None:
    """List the plans by name."""

    async def main(desk: Desk) -> list[Plan]:
        from recado.identity import plans

        return await plans.all_of_them(desk.platform)

    found = at_desk(main)
    rows = [
        (
            *(p.name, p.messages, p.model_tokens, p.transcription_seconds, _dollars(p.money), p.stored_bytes),
            *(p.soft_share, p.hard_action),
        )
        for p in found
    ]
    heads = ("NAME", "MESSAGES", "TOKENS", "SECONDS", "USD", "BYTES KEPT", "SOFT", "AT LIMIT")
    text = table(heads, rows, empty="no plan yet: `recado plans add NAME`")
    answer([_plan(plan) for plan in found], as_json=json, text=text)


@owners_commands.command("plan")
def put_on_plan(
    owner: OwnerId, plan: Annotated[str, typer.Option("--plan", help="The plan's name.")], json: Json = False
) -> None:
    """Put an owner on a plan."""

    async def main(desk: Desk) -> Plan:
        from recado.identity import audit, plans

        async with desk.platform.transaction():
            before = await plans.of_owner(desk.platform, owner)
            made = await plans.assign(desk.platform, owner, plan)
            if made != before:
                data = {"plan": made.name}
                await audit.record(desk.platform, desk.caller, "set_plan", "owner", str(owner), data, owner_id=owner)
        return made

    made = at_desk(main)
    answer({"id": owner, "plan": made.name}, as_json=json, text=f"owner {owner}  plan {made.name}")


@app.command("usage")
def show_usage(
    owner: OnlyOwner = None,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Default: the present month, in UTC.")] = None,
    json: Json = False,
) -> None:
    """Show what owners used in a month, and what their plans allow."""
    period = _period(month)

    async def main(desk: Desk) -> list[Used]:
        from recado.identity import plans

        await check_owner(desk, owner)
        return await plans.usage(desk.platform, period, owner_id=owner)

    found = at_desk(main)
    made = [
        {
            "owner_id": used.owner_id,
            "period": period,
            "metric": used.metric,
            "amount": used.amount,
            "limit": used.limit,
        }
        for used in found
    ]
    rows = [
        (
            used.owner_id,
            used.metric,
            *(_dollars(value) if used.metric == "money" else value for value in (used.amount, used.limit)),
        )
        for used in found
    ]
    text = table(("OWNER", "METRIC", "USED", "LIMIT"), rows, empty=f"nothing was used in {period:%Y-%m}")
    answer(made, as_json=json, text=text)


def _period(month: str | None) -> date:
    if month is None:
        return datetime.now(UTC).date().replace(day=1)
    try:
        return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise UsageError(f"{month}: not a month such as 2026-11") from None


def _micros(dollars: str) -> int:
    try:
        micros = Decimal(dollars) * DOLLAR
    except InvalidOperation:
        raise UsageError(f"{dollars}: not an amount of US dollars such as 12.50") from None
    if not micros.is_finite() or micros < 0 or micros != int(micros):
        raise UsageError(f"{dollars}: not an amount of US dollars such as 12.50, to a millionth at most")
    return int(micros)


def _dollars(micros: int | None) -> str | None:
    return None if micros is None else f"{Decimal(micros) / DOLLAR:.6f}".rstrip("0").rstrip(".")


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "name": plan.name,
        "messages": plan.messages,
        "model_tokens": plan.model_tokens,
        "transcription_seconds": plan.transcription_seconds,
        "money_micros": plan.money,
        "stored_bytes": plan.stored_bytes,
        "soft_share": plan.soft_share,
        "at_limit": plan.hard_action,
    }
