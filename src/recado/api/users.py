"""Users: who they are, and what an owner's admins change of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.keys import KeyView, end_keys_of, key_view
from recado.api.shared import pages
from recado.api.shared.door import ADMIN, SIGNED_IN, GuardedRoute, Myself, Person, Visit, Who
from recado.api.shared.forms import NO_NUL, Given
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.db.scope import Scope
from recado.identity import audit, keys, users
from recado.identity.callers import Caller, Role
from recado.identity.passwords import MOST_CHARS
from recado.identity.users import NAME_CHARS, User

PersonName = Annotated[str, Field(max_length=NAME_CHARS, pattern=NO_NUL)]
Password = Annotated[str, Field(min_length=1, max_length=MOST_CHARS)]


class UserView(BaseModel):
    """A person who signs in. `version` is their ETag."""

    id: UUID
    email: str
    name: str
    role: Role
    status: Literal["active", "disabled"]
    version: int
    last_sign_in_at: datetime | None
    created_at: datetime


class UserWithKeysView(UserView):
    """A user, and what of their making still works: whoever is dismissed may have left it behind."""

    keys: Annotated[
        list[KeyView],
        Field(description="The API keys that they made, or that such a key made, and that still work."),
    ]


class MeView(UserView):
    """Who is signed in; a platform administrator has no owner."""

    owner_id: UUID | None


class UserChange(Given):
    """What of a user changes; fields that are not given stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "operator"}]})

    name: PersonName | None = None
    role: Role | None = None
    status: Literal["active", "disabled"] | None = None
    end_keys: Annotated[
        bool,
        Field(
            description="Revoke the API keys that they made, and that such keys made. For whoever is disabled, or no "
            "admin any more, by this change."
        ),
    ] = False


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/users", tags=["Users"], operation_id="list_users", responses=describe(), openapi_extra=ADMIN)
async def list_users(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[UserView]:
    """The owner's users, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(UserView, pages.cut(await users.list_(scope), after, limit), limit)


@router.get("/users/me", tags=["Users"], operation_id="get_me", responses=describe(), openapi_extra=SIGNED_IN)
async def get_me(who: Myself) -> MeView:
    """Who is signed in."""
    return MeView.model_validate(await signed_in_user(who), from_attributes=True)


@router.get(
    "/users/{user_id}",
    tags=["Users"],
    operation_id="get_user",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def get_user(who: Who, user_id: UUID, response: Response) -> UserWithKeysView:
    """A user of the owner, with the ETag that a change needs, and the API keys of their making that still work."""
    async with who.scope() as scope:
        found = await users.get(scope, user_id)
        shown = await _with_keys(who, scope, found)
    response.headers["ETag"] = etag(found.version)
    return shown


@router.patch(
    "/users/{user_id}",
    tags=["Users"],
    operation_id="change_user",
    responses=describe(404, 409, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def change_user(
    who: Who, user_id: UUID, given: UserChange, response: Response, if_match: IfMatch = None
) -> UserWithKeysView:
    """Change a user's name or role, disable them, which ends their sessions, or let them in again. Needs `If-Match`.

    Invitations of whoever is no active admin any more end at once. The API keys that they made go on, and are in the
    answer; with `end_keys` they end too. The owner's last active admin can't be disabled or given another role (409).
    A key whose own maker is no admin any more changes no role and no status (403).
    """
    version = demand(if_match)
    async with who.scope() as scope:
        before = await users.get(scope, user_id, lock=True)
        check_version(version, before.version)
        after = await users.change(
            scope,
            user_id,
            name=given.name,
            role=given.role,
            status=given.status,
            now=who.wiring.clock.now(),
            by=who.caller,
        )
        await _record(scope, who.caller, before, after)
        if given.end_keys:
            if after.role == "admin" and after.status == "active":
                raise wrong("end_keys", "is for whoever is disabled, or no admin any more")
            await end_keys_of(who, scope, user_id)
        shown = await _with_keys(who, scope, after)
    response.headers["ETag"] = etag(after.version)
    return shown


async def signed_in_user(who: Person) -> User:
    """The user whose session it is."""
    async with who.where() as where:
        return await users.get(where, who.session.user_id)


async def _record(scope: Scope, caller: Caller, before: User, after: User) -> None:
    """Each change in the audit by its own word."""
    if after.name != before.name:
        await audit.record(scope, caller, "rename", "user", str(after.id))
    if after.role != before.role:
        await audit.record(scope, caller, "set_role", "user", str(after.id), {"role": after.role})
    if after.status != before.status:
        action = "disable" if after.status == "disabled" else "enable"
        await audit.record(scope, caller, action, "user", str(after.id))


async def _with_keys(who: Visit, scope: Scope, found: User) -> UserWithKeysView:
    made = await keys.made_by(scope, found.id, now=who.wiring.clock.now())
    return UserWithKeysView(
        **UserView.model_validate(found, from_attributes=True).model_dump(), keys=[key_view(key) for key in made]
    )
