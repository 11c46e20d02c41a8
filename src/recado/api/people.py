"""Routes about who may come in: users, invitations and API keys; for keys with the scope `admin`."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from recado.api import pages
from recado.api.acting import IdempotencyKey, once
from recado.api.door import GuardedRoute, Visit, needs, visit
from recado.api.pages import Cursor, Limit, Page
from recado.api.problems import FieldError, Problem, describe
from recado.api.views import InvitationView, KeyView, NewKey, NewKeyView, UserView
from recado.db.scope import Scope
from recado.identity import audit, invitations, keys, users

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
ADMIN = needs("admin")
Who = Annotated[Visit, Depends(visit)]


@router.get("/users", tags=["Users"], operation_id="list_users", responses=describe(), openapi_extra=ADMIN)
async def list_users(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[UserView]:
    """The owner's users, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(UserView, pages.cut(await users.list_(scope), after, limit), limit)


@router.get(
    "/invitations", tags=["Invitations"], operation_id="list_invitations", responses=describe(), openapi_extra=ADMIN
)
async def list_invitations(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[InvitationView]:
    """The owner's invitations, oldest first, used and ended ones too."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(InvitationView, pages.cut(await invitations.list_(scope), after, limit), limit)


@router.get("/keys", tags=["Keys"], operation_id="list_keys", responses=describe(), openapi_extra=ADMIN)
async def list_keys(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[KeyView]:
    """The owner's API keys, oldest first, revoked and expired ones too; never their texts."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(KeyView, pages.cut(await keys.list_(scope), after, limit), limit)


@router.post(
    "/keys",
    tags=["Keys"],
    operation_id="make_key",
    status_code=201,
    response_model=NewKeyView,
    responses=describe(),
    openapi_extra=ADMIN,
)
async def make_key(request: Request, who: Who, given: NewKey, idempotency_key: IdempotencyKey = None) -> Response:
    """Make an API key; its text is in this answer and nowhere else."""
    expires_at = given.expires_at
    if expires_at is not None:
        expires_at = expires_at.replace(tzinfo=expires_at.tzinfo or UTC)
        if expires_at <= who.wiring.clock.now():
            raise Problem(
                422, "the key would have expired", errors=[FieldError(where="body.expires_at", detail="is in the past")]
            )

    async def make(scope: Scope) -> NewKeyView:
        made, text = await keys.make(scope, name=given.name, scopes=given.scopes, expires_at=expires_at)
        await audit.record(scope, who.caller, "add", "key", str(made.id), {"scopes": made.scopes})
        shown = KeyView.model_validate(made, from_attributes=True)
        return NewKeyView(**shown.model_dump(), key=text)

    return await once(request, who, idempotency_key, make, status=201)


@router.delete("/keys/{key_id}", tags=["Keys"], operation_id="revoke_key", responses=describe(404), openapi_extra=ADMIN)
async def revoke_key(who: Who, key_id: UUID) -> KeyView:
    """End an API key for good; every process knows within 30 seconds. Once more changes nothing."""
    async with who.scope() as scope:
        ended = await keys.revoke(scope, key_id, now=who.wiring.clock.now())
        await audit.record(scope, who.caller, "revoke", "key", str(key_id))
    return KeyView.model_validate(ended, from_attributes=True)
