"""Templates: what Twilio has approved."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from recado.api.shared import pages
from recado.api.shared.door import READ, GuardedRoute, Who
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe
from recado.conversations import templates


class TemplateView(BaseModel):
    """A template as it was at the last sync. Only `approved` ones can be sent."""

    id: UUID
    account_id: UUID
    content_sid: Annotated[str, Field(examples=["HX" + "0" * 32])]
    name: str
    language: str
    category: str | None
    status: Annotated[str, Field(examples=["approved", "pending", "rejected"])]
    rejection_reason: str | None
    content_type: Annotated[str, Field(examples=["twilio/text"])]
    body: Annotated[str, Field(examples=["Olá {{1}}, seu pedido está pronto."])]
    variables: Annotated[list[str], Field(description="All of them must be given when it is sent.")]
    synced_at: datetime


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/templates", tags=["Templates"], operation_id="list_templates", responses=describe(), openapi_extra=READ)
async def list_templates(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[TemplateView]:
    """The templates of the owner's Twilio accounts, as of the last `recado templates sync`."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(TemplateView, await templates.page(scope, after=after, limit=limit), limit)
