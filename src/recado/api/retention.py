"""Retention: for how many days an owner keeps what, and how much would go by other periods."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared.door import ADMIN, READ, GuardedRoute, Who
from recado.api.shared.forms import Given
from recado.api.shared.problems import describe
from recado.identity import audit, retention
from recado.identity.retention import LEAST_DAYS, MOST_DAYS, Periods
from recado.ops.privacy import periods

Messages = Annotated[
    int | None,
    Field(
        ge=LEAST_DAYS["messages"], le=MOST_DAYS, description="With all that belongs to them, and contacts then left."
    ),
]
Media = Annotated[
    int | None,
    Field(ge=LEAST_DAYS["media"], le=MOST_DAYS, description="Files, and uploads that were not sent in that time."),
]
Events = Annotated[int | None, Field(ge=LEAST_DAYS["events"], le=MOST_DAYS)]
AuditDays = Annotated[int | None, Field(ge=LEAST_DAYS["audit"], le=MOST_DAYS)]


class RetentionView(BaseModel):
    """Days from when a thing came or happened; null: it is kept as long as nobody deletes it."""

    messages: Annotated[int | None, Field(examples=[365])]
    media: Annotated[int | None, Field(examples=[90])]
    events: int | None
    audit: int | None


class NewRetention(Given):
    """The periods, in days; what is not given is kept for good."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"messages": 365, "media": 90}]})

    messages: Messages = None
    media: Media = None
    events: Events = None
    audit: AuditDays = None


class RetentionPreview(BaseModel):
    """How much would go now, by kind; `messages_waiting` are as old, and stay while they wait for somebody."""

    counts: Annotated[dict[str, int], Field(examples=[{"messages": 1200, "messages_waiting": 3}])]


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/retention", tags=["Owners"], operation_id="get_retention", responses=describe(), openapi_extra=READ)
async def get_retention(who: Who) -> RetentionView:
    """For how many days the owner keeps what."""
    async with who.scope() as scope:
        return RetentionView.model_validate(asdict(await retention.get(scope)))


@router.put("/retention", tags=["Owners"], operation_id="set_retention", responses=describe(), openapi_extra=ADMIN)
async def set_retention(who: Who, given: NewRetention) -> RetentionView:
    """Set all periods. What is older goes soon, in the background, and does not come back: look at the preview."""
    wanted = Periods(**given.model_dump())
    async with who.scope() as scope:
        before = await retention.put(scope, wanted)
        if before != wanted:
            await audit.record(scope, who.caller, "set_retention", "owner", str(who.owner_id), asdict(wanted))
    return RetentionView.model_validate(asdict(wanted))


@router.get(
    "/retention/preview",
    tags=["Owners"],
    operation_id="preview_retention",
    responses=describe(),
    openapi_extra=READ,
)
async def preview_retention(
    who: Who,
    messages: Annotated[Messages, Query()] = None,
    media: Annotated[Media, Query()] = None,
    events: Annotated[Events, Query()] = None,
    audit_: Annotated[AuditDays, Query(alias="audit")] = None,
) -> RetentionPreview:
    """How much would go by these periods, if they were set now; nothing is deleted."""
    wanted = Periods(messages=messages, media=media, events=events, audit=audit_)
    async with who.scope() as scope:
        return RetentionPreview(counts=await periods.count(scope, wanted, now=who.wiring.clock.now()))
