"""Routes about who may come in: users, invitations and API keys; for an owner's admins. The invited come alone."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from psycopg_pool import AsyncConnectionPool

from recado.api import pages
from recado.api.acting import IdempotencyKey, IfMatch, check_version, demand, etag, once
from recado.api.door import OPEN, GuardedRoute, Visit, needs, platform, visit
from recado.api.pages import Cursor, Limit, Page
from recado.api.people_views import (
    Acceptance,
    EndedKeyView,
    NewInvitation,
    NewInvitationView,
    UserChange,
    UserWithKeysView,
)
from recado.api.problems import Problem, describe, wrong
from recado.api.views import InvitationView, KeyView, NewKey, NewKeyView, UserView
from recado.db.scope import Scope
from recado.errors import NotFound, UsageError
from recado.identity import audit, invitations, keys, users
from recado.identity.invitations import Invitation
from recado.identity.keys import ApiKey
from recado.identity.users import User

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
        if after.name != before.name:
            await audit.record(scope, who.caller, "rename", "user", str(user_id))
        if after.role != before.role:
            await audit.record(scope, who.caller, "set_role", "user", str(user_id), {"role": after.role})
        if after.status != before.status:
            await audit.record(
                scope, who.caller, "disable" if after.status == "disabled" else "enable", "user", str(user_id)
            )
        if given.end_keys:
            if after.role == "admin" and after.status == "active":
                raise wrong("end_keys", "is for whoever is disabled, or no admin any more")
            await _end_keys_of(who, scope, user_id)
        shown = await _with_keys(who, scope, after)
    response.headers["ETag"] = etag(after.version)
    return shown


async def _with_keys(who: Visit, scope: Scope, found: User) -> UserWithKeysView:
    made = await keys.made_by(scope, found.id, now=who.wiring.clock.now())
    return UserWithKeysView(
        **UserView.model_validate(found, from_attributes=True).model_dump(), keys=[_key(key) for key in made]
    )


async def _end_keys_of(who: Visit, scope: Scope, maker_id: UUID) -> None:
    """Revoke what this user or key made, and what such keys made."""
    now = who.wiring.clock.now()
    for key in await keys.made_by(scope, maker_id, now=now):
        await keys.revoke(scope, key.id, now=now)
        await audit.record(scope, who.caller, "revoke", "api_key", str(key.id))


@router.get(
    "/invitations", tags=["Invitations"], operation_id="list_invitations", responses=describe(), openapi_extra=ADMIN
)
async def list_invitations(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[InvitationView]:
    """The owner's invitations, oldest first, used and ended ones too."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        found = pages.cut(await invitations.list_(scope), after, limit)
    return pages.page(InvitationView, found, limit, show=_invitation)


@router.post(
    "/invitations",
    tags=["Invitations"],
    operation_id="invite",
    status_code=201,
    response_model=NewInvitationView,
    responses=describe(409),
    openapi_extra=ADMIN,
)
async def invite(request: Request, who: Who, given: NewInvitation, idempotency_key: IdempotencyKey = None) -> Response:
    """Invite somebody; the token is in this answer and nowhere else. An open invitation of the address ends.

    It counts while whoever made it may still make it. Whoever accepts for an address that is a user of this owner sets
    that user's password anew: so an API key may invite none of those (403), and nobody another admin or themselves.
    Whether the address is known to anybody else makes no difference.
    """

    async def make(scope: Scope) -> NewInvitationView:
        made, token = await invitations.make(
            scope, email=given.email, role=given.role, by=who.caller, now=who.wiring.clock.now()
        )
        data = {"role": made.role, "resets_password": made.resets_password}
        await audit.record(scope, who.caller, "add", "invitation", str(made.id), data)
        return NewInvitationView(**_invitation(made).model_dump(), token=token)

    return await once(request, who, idempotency_key, make, status=201)


@router.post(
    "/invitations/accept",
    tags=["Invitations"],
    operation_id="accept_invitation",
    responses=describe(404, 409),
    openapi_extra=OPEN,
)
async def accept_invitation(
    request: Request, given: Acceptance, everybody: Annotated[AsyncConnectionPool[Any], Depends(platform)]
) -> UserView:
    """Accept an invitation with its token: choose a name and a password, then sign in. A token works once.

    A user who exists gets the password and the role, which is also how a forgotten password is replaced; of an
    invitation that was made before there was that user, 409. 404 too once its maker may not make it any more.
    """
    try:
        user = await invitations.accept(
            everybody, given.token, given.password, name=given.name, clock=request.app.state.wiring.clock
        )
    except NotFound as unknown:
        raise Problem(404, str(unknown)) from None
    return UserView.model_validate(user, from_attributes=True)


@router.delete(
    "/invitations/{invitation_id}",
    tags=["Invitations"],
    operation_id="revoke_invitation",
    responses=describe(404),
    openapi_extra=ADMIN,
)
async def revoke_invitation(who: Who, invitation_id: UUID) -> InvitationView:
    """End an invitation; one that was accepted stays so. Once more changes nothing."""
    async with who.scope() as scope:
        now = who.wiring.clock.now()
        ended = await invitations.revoke(scope, invitation_id, now=now)
        if ended.revoked_at == now:
            await audit.record(scope, who.caller, "revoke", "invitation", str(invitation_id))
    return _invitation(ended)


def _invitation(found: Invitation) -> InvitationView:
    shown = InvitationView.model_validate(found, from_attributes=True)
    # As in the audit: who runs the installation is none of an owner's business.
    return shown.model_copy(update={"invited_by_id": None}) if found.invited_by_kind in ("platform", "cli") else shown


@router.get("/keys", tags=["Keys"], operation_id="list_keys", responses=describe(), openapi_extra=ADMIN)
async def list_keys(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[KeyView]:
    """The owner's API keys, oldest first, revoked and expired ones too; never their texts."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(KeyView, pages.cut(await keys.list_(scope), after, limit), limit, show=_key)


def _key(found: ApiKey) -> KeyView:
    shown = KeyView.model_validate(found, from_attributes=True)
    # As in the audit: who runs the installation is none of an owner's business.
    return shown.model_copy(update={"made_by_id": None}) if found.made_by_kind in ("platform", "cli") else shown


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
        return NewKeyView(**_key(made).model_dump(), key=text)

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
            await _end_keys_of(who, scope, key_id)
        made = await keys.made_by(scope, key_id, now=now)
    return EndedKeyView(**_key(ended).model_dump(), keys=[_key(key) for key in made])
