"""Plans, for platform administrators: what owners can be put on."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from recado.api.shared import pages
from recado.api.shared.door import PLATFORM, Administrator, GuardedRoute
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe
from recado.identity import plans
from recado.identity.plans import HardAction


class PlanView(BaseModel):
    """Limits of a calendar month; null is none."""

    id: UUID
    name: str
    messages: int | None
    model_tokens: int | None
    transcription_seconds: int | None
    money: Annotated[int | None, Field(description="In millionths of a US dollar.")]
    stored_bytes: Annotated[int | None, Field(description="Of attachments kept at a time, not in a month.")]
    soft_share: Annotated[float, Field(description="At this share of a limit an event warns.")]
    hard_action: Annotated[HardAction, Field(description="Who answers once a limit is reached.")]


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/plans", tags=["Platform"], operation_id="list_plans", responses=describe(), openapi_extra=PLATFORM)
async def list_plans(who: Administrator, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[PlanView]:
    """Every plan, oldest first."""
    after = pages.read(cursor)
    async with who.platform.connection() as conn:
        found = sorted(await plans.all_of_them(conn), key=lambda plan: plan.id)
    return pages.page(PlanView, pages.cut(found, after, limit), limit)
