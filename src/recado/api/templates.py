"""Routes about templates: what Twilio has approved, and which of them carries an assistant's late replies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api import pages
from recado.api.acting import IfMatch, check_version, demand, etag
from recado.api.door import GuardedRoute, Visit, needs, visit
from recado.api.forms import SID
from recado.api.pages import Cursor, Limit, Page
from recado.api.problems import describe
from recado.api.views import NO_NUL, Given
from recado.assistants import assistant
from recado.conversations import templates
from recado.conversations.templates import Fallback
from recado.identity import audit

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
READ = needs("read")
ADMIN = needs("admin")
Who = Annotated[Visit, Depends(visit)]


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


class FallbackView(BaseModel):
    """The template that carries an assistant's late replies; without one they are held."""

    content_sid: str | None
    variables: dict[str, str]


class NewFallback(Given):
    """Which template, and what its variables hold; `{text}` stands for the reply, `{contact_name}` for the name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"content_sid": "HX" + "0" * 32, "variables": {"1": "{contact_name}", "2": "{text}"}}]
        },
    )

    content_sid: Annotated[
        Annotated[str, SID, Field(pattern=r"^HX[0-9a-f]{32}$")] | None,
        Field(description="Null: none, late replies are held."),
    ]
    variables: Annotated[dict[str, Annotated[str, Field(max_length=1_000, pattern=NO_NUL)]], Field(max_length=50)] = (
        Field(default_factory=dict)
    )


@router.get("/templates", tags=["Templates"], operation_id="list_templates", responses=describe(), openapi_extra=READ)
async def list_templates(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[TemplateView]:
    """The templates of the owner's Twilio accounts, as of the last `recado templates sync`."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(TemplateView, await templates.page(scope, after=after, limit=limit), limit)


@router.put(
    "/assistants/{assistant_id}/fallback-template",
    tags=["Templates"],
    operation_id="set_fallback_template",
    responses=describe(404, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def set_fallback_template(
    who: Who, assistant_id: UUID, given: NewFallback, response: Response, if_match: IfMatch = None
) -> FallbackView:
    """Choose what carries the assistant's replies once WhatsApp's 24 hours are over, or nothing. Needs `If-Match`."""
    version = demand(if_match)
    async with who.scope() as scope:
        check_version(version, (await assistant.look(scope, assistant_id, lock=True)).version)
        chosen = (
            None if given.content_sid is None else Fallback(content_sid=given.content_sid, variables=given.variables)
        )
        await templates.set_fallback(scope, assistant_id, chosen)
        data = {"changed": ["fallback_template"], "content_sid": given.content_sid}
        await audit.record(scope, who.caller, "change", "assistant", str(assistant_id), data)
        response.headers["ETag"] = etag((await assistant.look(scope, assistant_id)).version)
    return FallbackView(content_sid=given.content_sid, variables=given.variables if chosen else {})
