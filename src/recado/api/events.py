"""Events: what happened, for whoever follows along."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from recado.api.shared import pages
from recado.api.shared.door import READ, GuardedRoute, Who
from recado.api.shared.pages import Limit, Page
from recado.api.shared.problems import describe
from recado.conversations import events


class EventView(BaseModel):
    """One thing that happened, for whoever follows along."""

    id: Annotated[str, Field(description="Give it as `after`.", examples=["4711"])]
    at: datetime
    step: str
    what: str
    conversation_id: UUID | None
    message_id: UUID | None
    correlation_id: UUID | None
    data: dict[str, Any] | None


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/events", tags=["Events"], operation_id="list_events", responses=describe(), openapi_extra=READ)
async def list_events(
    who: Who,
    after: Annotated[
        str, Query(pattern=r"^[0-9]{1,18}$", description="The id of the last event that you have; 0 for all.")
    ] = "0",
    limit: Limit = pages.LIMIT,
) -> Page[EventView]:
    """What happened after an event, oldest first; none is missed, however long it took to be committed.

    An event shows once nothing that is being written any more can come to stand before it: mostly at once.

    `next` is what to ask `after` next, whether or not there is anything yet.
    """
    async with who.scope() as scope:
        found = await events.page(scope, after=int(after), limit=limit)
    items = [
        EventView(
            id=str(event.id),
            at=event.at,
            step=event.step,
            what=event.what,
            conversation_id=event.conversation_id,
            message_id=event.message_id,
            correlation_id=event.correlation_id,
            data=event.data,
        )
        for event in found
    ]
    return Page[EventView](items=items, next=items[-1].id if items else after)
