"""Routes that give account: what was used of a plan, and who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, get_args
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from recado.api.shared import pages
from recado.api.shared.door import PLATFORM, GuardedRoute, Person, Visit, needs, person, visit
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import FieldError, Problem, describe
from recado.api.views import AuditView, PlanView, PlatformAuditView, UsageView, UsedView
from recado.identity import audit, plans

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
Who = Annotated[Visit, Depends(visit)]


@router.get("/usage", tags=["Usage"], operation_id="get_usage", responses=describe(), openapi_extra=needs("read"))
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
    shown = PlanView.model_validate(plan, from_attributes=True) if plan else None
    return UsageView(period=f"{month:%Y-%m}", state=state, plan=shown, metrics=metrics)


@router.get("/audit", tags=["Audit"], operation_id="list_audit", responses=describe(), openapi_extra=needs("admin"))
async def list_audit(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[AuditView]:
    """Who did what to which of the owner's things, newest first."""
    before = _before(cursor)
    async with who.scope() as scope:
        found = await audit.entries(scope, before=before, limit=limit + 1)
    return Page[AuditView](items=[_entry(entry) for entry in found[:limit]], next=_next(found, limit))


@router.get(
    "/platform/audit",
    tags=["Platform"],
    operation_id="list_platform_audit",
    responses=describe(),
    openapi_extra=PLATFORM,
)
async def list_platform_audit(
    who: Annotated[Person, Depends(person)],
    owner_id: Annotated[UUID | None, Query(description="Only what was done to this owner's things.")] = None,
    platform_only: Annotated[bool, Query(description="Only what was done to no owner's things.")] = False,
    cursor: Cursor = None,
    limit: Limit = pages.LIMIT,
) -> Page[PlatformAuditView]:
    """Who did what to which thing of the installation or of any owner, newest first."""
    before = _before(cursor)
    async with who.platform.connection() as conn:
        found = await audit.entries(
            conn, owner_id=owner_id, platform_only=platform_only, before=before, limit=limit + 1
        )
    shown = [
        PlatformAuditView.model_validate(asdict(entry) | {"id": str(entry.id)}, from_attributes=True)
        for entry in found[:limit]
    ]
    return Page[PlatformAuditView](items=shown, next=_next(found, limit))


def _before(cursor: str | None) -> int | None:
    before = pages.read(cursor)
    if before is not None and before.int >= 2**63:
        raise Problem(
            422, "the cursor is not one of this list", errors=[FieldError(where="query.cursor", detail="is not valid")]
        )
    return before.int if before else None


def _next(found: Sequence[audit.Entry], limit: int) -> str | None:
    return pages.write(UUID(int=found[limit - 1].id)) if len(found) > limit else None


def _entry(entry: audit.Entry) -> AuditView:
    # The names of those who run the installation are none of an owner's business.
    theirs = entry.caller_kind in ("platform", "cli")
    return AuditView(
        id=str(entry.id),
        at=entry.at,
        caller_kind=entry.caller_kind,
        caller_id=None if theirs else entry.caller_id,
        caller_name=None if theirs else entry.caller_name,
        action=entry.action,
        thing=entry.thing,
        thing_id=entry.thing_id,
        data=entry.data,
    )
