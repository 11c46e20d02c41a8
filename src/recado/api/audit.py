"""The audit: who did what, for an owner's admins, and of everybody for platform administrators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from recado.api.shared import examples, pages
from recado.api.shared.door import ADMIN, PLATFORM, Administrator, GuardedRoute, Who
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import FieldError, Problem, describe
from recado.identity import audit


class AuditView(BaseModel):
    """One thing that somebody did. Those who run the installation (`platform`, `cli`) have no name here."""

    id: Annotated[str, Field(examples=["4711"])]
    at: datetime
    caller_kind: Literal["key", "user", "platform", "cli"]
    caller_id: UUID | None
    caller_name: Annotated[str | None, Field(examples=["CRM"])]
    action: Annotated[str, Field(examples=["close"])]
    thing: Annotated[str, Field(examples=["conversation"])]
    thing_id: Annotated[str | None, Field(examples=[examples.ID])]
    data: Annotated[dict[str, Any] | None, Field(examples=[{"reason": "resolved"}])]


class PlatformAuditView(AuditView):
    """One thing that somebody did, with the names of those who run the installation; without an owner, to that."""

    owner_id: UUID | None


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/audit", tags=["Audit"], operation_id="list_audit", responses=describe(), openapi_extra=ADMIN)
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
    who: Administrator,
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
