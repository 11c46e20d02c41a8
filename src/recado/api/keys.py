"""API keys, for an owner's admins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import pages
from recado.api.shared.door import ADMIN, GuardedRoute, Visit, Who
from recado.api.shared.forms import NOT_BLANK, Given
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe, wrong
from recado.db.scope import Scope
from recado.errors import UsageError
from recado.identity import audit, keys
from recado.identity.callers import KeyScope
from recado.identity.keys import ApiKey


class KeyView(BaseModel):
    """An API key without its text; `hint` is how that begins."""

    id: UUID
    name: str
    hint: str
    scopes: list[KeyScope]
    made_by_kind: Annotated[
        Literal["key", "user", "platform", "cli"] | None, Field(description="Who made it, as in the audit.")
    ]
    made_by_id: UUID | None
    made_by_name: Annotated[str | None, Field(description="The user's e-mail address, or the key's name.")]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKeyView(KeyView):
    """A new API key, shown this once."""

    key: Annotated[str, Field(description="The key's text, which can't be had again.")]


class EndedKeyView(KeyView):
    """An API key that has ended, and what of its making still works."""

    keys: Annotated[
        list[KeyView], Field(description="The API keys that it made, or that such a key made, and that still work.")
    ]


class NewKey(Given):
    """An API key to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "CRM", "scopes": ["read"]}]})

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=NOT_BLANK)]
    scopes: Annotated[list[KeyScope], Field(min_length=1, max_length=4)]
    expires_at: Annotated[
        datetime | None, Field(description="In the future, ten years ahead at most. Null: it does not end.")
    ] = None


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/keys", tags=["Keys"], operation_id="list_keys", responses=describe(), openapi_extra=ADMIN)
async def list_keys(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[KeyView]:
    """The owner's API keys, oldest first, revoked and expired ones too; never their texts."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(KeyView, pages.cut(await keys.list_(scope), after, limit), limit, show=key_view)


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
    """Make an API key; its text is in this answer and nowhere else.

    403 for a key whose own maker is no admin any more: what they left behind makes nothing new.
    """
    expires_at = given.expires_at
    if expires_at is not None:
        try:
            expires_at = keys.end_at(expires_at, now=who.wiring.clock.now())
        except UsageError as error:
            raise wrong("expires_at", str(error)) from None

    async def make(scope: Scope) -> NewKeyView:
        made, text = await keys.make(
            scope,
            name=given.name,
            scopes=given.scopes,
            expires_at=expires_at,
            by=who.caller,
            now=who.wiring.clock.now(),
        )
        await audit.record(scope, who.caller, "add", "api_key", str(made.id), {"scopes": made.scopes})
        return NewKeyView(**key_view(made).model_dump(), key=text)

    return await once(request, who, idempotency_key, make, status=201)


@router.delete("/keys/{key_id}", tags=["Keys"], operation_id="revoke_key", responses=describe(404), openapi_extra=ADMIN)
async def revoke_key(
    who: Who,
    key_id: UUID,
    end_keys: Annotated[bool, Query(description="Revoke the keys that it made, and that such keys made, too.")] = False,
) -> EndedKeyView:
    """End an API key for good; every process knows within 30 seconds. Once more changes nothing.

    Its open invitations end with it. Keys that it made go on, and are in the answer, unless they are to end too.
    """
    async with who.scope() as scope:
        now = who.wiring.clock.now()
        ended = await keys.revoke(scope, key_id, now=now)
        if ended.revoked_at == now:
            await audit.record(scope, who.caller, "revoke", "api_key", str(key_id))
        if end_keys:
            await end_keys_of(who, scope, key_id)
        made = await keys.made_by(scope, key_id, now=now)
    return EndedKeyView(**key_view(ended).model_dump(), keys=[key_view(key) for key in made])


def key_view(found: ApiKey) -> KeyView:
    """What is shown of a key."""
    shown = KeyView.model_validate(found, from_attributes=True)
    # As in the audit: who runs the installation is none of an owner's business.
    return shown.model_copy(update={"made_by_id": None}) if found.made_by_kind in ("platform", "cli") else shown


async def end_keys_of(who: Visit, scope: Scope, maker_id: UUID) -> None:
    """Revoke what this user or key made, and what such keys made."""
    now = who.wiring.clock.now()
    for key in await keys.made_by(scope, maker_id, now=now):
        await keys.revoke(scope, key.id, now=now)
        await audit.record(scope, who.caller, "revoke", "api_key", str(key.id))
