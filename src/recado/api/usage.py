"""Usage: what an owner used in a month of what its plan allows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from recado.api.shared.door import READ, GuardedRoute, Who
from recado.api.shared.problems import describe
from recado.identity import plans


class PlanLimitsView(BaseModel):
    """What a plan allows in a month; null is no limit. Money is in millionths of a US dollar."""

    name: Annotated[str, Field(examples=["small"])]
    messages: Annotated[int | None, Field(examples=[1000])]
    model_tokens: Annotated[int | None, Field(examples=[None])]
    transcription_seconds: Annotated[int | None, Field(examples=[3600])]
    money: Annotated[int | None, Field(examples=[12_500_000])]
    stored_bytes: Annotated[
        int | None, Field(examples=[5_000_000_000], description="Of attachments kept at a time, not in a month.")
    ]
    soft_share: Annotated[float, Field(examples=[0.8], description="The share of a limit at which an event warns.")]
    hard_action: Annotated[Literal["keyless", "people"], Field(description="Who answers once a limit is reached.")]


class UsedView(BaseModel):
    """What was used of one metric; `limit` is the plan's, null without one."""

    metric: Literal["messages", "model_tokens", "transcription_seconds", "money", "unpriced_tokens", "stored_bytes"]
    amount: Annotated[int, Field(examples=[42])]
    limit: Annotated[int | None, Field(examples=[1000])]


class UsageView(BaseModel):
    """What an owner used in a month, in UTC, and what that is to its plan: at `hard` a limit is reached."""

    period: Annotated[str, Field(examples=["2026-11"])]
    state: Literal["ok", "soft", "hard"]
    plan: PlanLimitsView | None
    metrics: list[UsedView]


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/usage", tags=["Usage"], operation_id="get_usage", responses=describe(), openapi_extra=READ)
async def get_usage(
    who: Who,
    period: Annotated[
        str | None,
        Query(
            pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$",
            description="A month in UTC. Not given: the present one.",
            examples=["2026-11"],
        ),
    ] = None,
) -> UsageView:
    """What the owner used in a month, and what its plan allows."""
    now = who.wiring.clock.now() if period is None else datetime.fromisoformat(f"{period}-01").replace(tzinfo=UTC)
    month = plans.period_of(now)
    async with who.scope() as scope:
        plan = await plans.of_owner(scope.conn, scope.owner_id)
        used = {item.metric: item for item in await plans.usage(scope, month)}
        state = await plans.state(scope, now)
    metrics = [
        UsedView(
            metric=metric,
            amount=used[metric].amount if metric in used else 0,
            limit=used[metric].limit if metric in used else None,
        )
        for metric in get_args(plans.Metric)
    ]
    shown = PlanLimitsView.model_validate(plan, from_attributes=True) if plan else None
    return UsageView(period=f"{month:%Y-%m}", state=state, plan=shown, metrics=metrics)
