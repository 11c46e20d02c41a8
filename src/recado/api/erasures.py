"""Erasures of people, from the request to the proof."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from recado.api.shared import pages
from recado.api.shared.door import READ, GuardedRoute, Who
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe
from recado.conversations import erasures
from recado.conversations.erasures import Erasure, Left, Status
from recado.db.scope import Scope


class LeftView(BaseModel):
    """What is not deleted: yet, while Twilio is asked again, or for good (`left`)."""

    kind: Annotated[
        str,
        Field(description="`message`, `content` (buttons), `lookup` (an attempt of which nobody knows what became)."),
    ]
    status: Annotated[str, Field(description="`waiting`: it is asked again; `left`: Twilio did not let it go.")]
    code: Annotated[int | None, Field(description="Twilio's code for why, at the last try.", examples=[20009])]
    count: int


class ErasureView(BaseModel):
    """The erasure of a person, and in the end its proof.

    It takes effect with the request: nothing is sent to them any more, and what they write next is a new contact's.
    """

    id: UUID
    contact_ids: Annotated[
        list[UUID], Field(description="The contact, and those who are the same person under another number.")
    ]
    status: Annotated[
        Status,
        Field(
            description="`stopping`: what is in work for them ends. `erasing`: rows and files go. `twilio`: nothing is "
            "left here, Twilio deletes. `done`, or `incomplete` where Twilio let something not go for days."
        ),
    ]
    waits_for: Annotated[
        str | None, Field(description="What holds it up: `work` that has begun, the `storage`, `twilio`.")
    ]
    requested_at: datetime
    erased_at: Annotated[datetime | None, Field(description="Since when nothing is left here.")]
    finished_at: datetime | None
    counts: Annotated[
        dict[str, int],
        Field(
            description="What was deleted, by table and place; `..._shared`: kept, for others were sent it too.",
            examples=[{"messages": 42, "files": 3, "twilio_messages": 42}],
        ),
    ]
    suppression_kept: Annotated[
        bool, Field(description="They had opted out: a keyed hash keeps that nothing is sent to them.")
    ]
    replayed: Annotated[bool, Field(description="Done again because a restored backup had brought them back.")]
    left: list[LeftView]


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/erasures", tags=["Contacts"], operation_id="list_erasures", responses=describe(), openapi_extra=READ)
async def list_erasures(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[ErasureView]:
    """The owner's erasures, newest first."""
    before = pages.read(cursor)
    async with who.scope() as scope:
        found = await erasures.page(scope, before=before, limit=limit)
        views = [await shown(scope, erasure) for erasure in found[:limit]]
    return Page[ErasureView](items=views, next=pages.write(views[-1].id) if len(found) > limit else None)


@router.get(
    "/erasures/{erasure_id}",
    tags=["Contacts"],
    operation_id="get_erasure",
    responses=describe(404),
    openapi_extra=READ,
)
async def get_erasure(who: Who, erasure_id: UUID) -> ErasureView:
    """How far an erasure is: once it is `done`, its proof."""
    async with who.scope() as scope:
        return await shown(scope, await erasures.get(scope, erasure_id))


async def shown(scope: Scope, erasure: Erasure) -> ErasureView:
    """The erasure with what is left of it."""
    left = await erasures.left(scope, erasure.id)
    return ErasureView.model_validate({**_fields(erasure), "left": [_fields(one) for one in left]})


def _fields(one: Erasure | Left) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}
