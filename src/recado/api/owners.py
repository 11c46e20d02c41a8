"""Owners: each sees its own; platform administrators make, name, suspend and put them on a plan."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import pages
from recado.api.shared.door import PLATFORM, READ, Administrator, GuardedRoute, Who
from recado.api.shared.forms import NO_NUL, NOT_BLANK, Given
from recado.api.shared.once import Found, IdempotencyKey, once_across
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.db.pool import Connection
from recado.errors import NotFound
from recado.identity import audit, owners, plans
from recado.identity.owners import Owner

OwnerName = Annotated[str, Field(min_length=1, max_length=200, pattern=NOT_BLANK)]


class OwnerView(BaseModel):
    """A tenant; a suspended one's messages are accepted and held. `version` is its ETag."""

    id: UUID
    name: str
    status: Literal["active", "suspended"]
    plan: Annotated[str | None, Field(description="The name of its plan; null: no limits.")]
    version: int
    created_at: datetime


class NewOwner(Given):
    """An owner to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Padaria Central"}]})

    name: OwnerName


class OwnerChange(Given):
    """What of an owner changes; fields that are not given stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"status": "suspended"}, {"plan": "small"}]}
    )

    name: OwnerName | None = None
    status: Literal["active", "suspended"] | None = None
    plan: Annotated[
        str | None, Field(max_length=100, pattern=NO_NUL, description="A plan's name; null or empty: no plan.")
    ] = None


router = APIRouter(prefix="/v1", route_class=GuardedRoute)
_ADDED = describe(sends={200: ["ETag"], 201: ["ETag", "Location"]})
_ADDED[200] |= {"description": "There is one of that name: it is this.", "model": OwnerView}


@router.get("/owners", tags=["Platform"], operation_id="list_owners", responses=describe(), openapi_extra=PLATFORM)
async def list_owners(who: Administrator, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[OwnerView]:
    """Every owner, oldest first."""
    after = pages.read(cursor)
    async with who.platform.connection() as conn:
        return pages.page(OwnerView, await owners.page(conn, after=after, limit=limit), limit)


@router.post(
    "/owners",
    tags=["Platform"],
    operation_id="add_owner",
    status_code=201,
    response_model=OwnerView,
    responses=_ADDED,
    openapi_extra=PLATFORM,
)
async def add_owner(
    request: Request, who: Administrator, given: NewOwner, idempotency_key: IdempotencyKey = None
) -> Response:
    """Add an owner, or find the one of that name, so that it may be asked again."""

    async def add(conn: Connection) -> OwnerView | Found:
        owner, made = await owners.put(conn, given.name)
        if not made:
            return Found(_view(owner))
        await audit.record(conn, who.caller, "add", "owner", str(owner.id), owner_id=owner.id)
        return _view(owner)

    return await once_across(request, who, idempotency_key, add, status=201, location="/v1/owners/{id}")


@router.get(
    "/owners/me",
    tags=["Owners"],
    operation_id="get_owner",
    responses=describe(sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_owner(who: Who, response: Response) -> OwnerView:
    """The owner of this key."""
    async with who.scope() as scope:
        found = await owners.get(scope.conn, scope.owner_id)
    response.headers["ETag"] = etag(found.version)
    return OwnerView.model_validate(found, from_attributes=True)


@router.get(
    "/owners/{owner_id}",
    tags=["Platform"],
    operation_id="get_any_owner",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=PLATFORM,
)
async def get_any_owner(who: Administrator, owner_id: UUID, response: Response) -> OwnerView:
    """An owner, with the ETag that a change needs."""
    async with who.platform.connection() as conn:
        return _tagged(await owners.get(conn, owner_id), response)


@router.patch(
    "/owners/{owner_id}",
    tags=["Platform"],
    operation_id="change_owner",
    responses=describe(404, 409, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=PLATFORM,
)
async def change_owner(
    who: Administrator, owner_id: UUID, given: OwnerChange, response: Response, if_match: IfMatch = None
) -> OwnerView:
    """Name an owner, suspend it, let it go on, or put it on a plan. Needs `If-Match`.

    What was held while it was suspended is answered by itself, if it is not older than 24 hours.
    """
    version = demand(if_match)
    async with who.across() as conn:
        before = await owners.get(conn, owner_id, lock=True)
        check_version(version, before.version)
        if given.name is not None and (await owners.rename(conn, owner_id, given.name)).name != before.name:
            await audit.record(conn, who.caller, "rename", "owner", str(owner_id), owner_id=owner_id)
        if given.status not in (None, before.status):
            await owners.set_status(conn, owner_id, given.status)
            action = "suspend" if given.status == "suspended" else "activate"
            await audit.record(conn, who.caller, action, "owner", str(owner_id), owner_id=owner_id)
        if "plan" in given.model_fields_set and (given.plan or None) != before.plan:
            await _put_on(conn, owner_id, given.plan)
            data = {"plan": given.plan or None}
            await audit.record(conn, who.caller, "set_plan", "owner", str(owner_id), data, owner_id=owner_id)
        after = await owners.get(conn, owner_id)
    return _tagged(after, response)


async def _put_on(conn: Connection, owner_id: UUID, plan: str | None) -> None:
    if not plan:
        await plans.release(conn, owner_id)
        return
    try:
        await plans.assign(conn, owner_id, plan)
    except NotFound:
        raise wrong("plan", "must be a plan's name") from None


def _tagged(owner: Owner, response: Response) -> OwnerView:
    response.headers["ETag"] = etag(owner.version)
    return _view(owner)


def _view(owner: Owner) -> OwnerView:
    return OwnerView.model_validate(owner, from_attributes=True)
