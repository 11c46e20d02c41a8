"""Invitations: an owner's admins invite, the invited come alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import examples, pages
from recado.api.shared.door import ADMIN, OPEN, GuardedRoute, Who, platform
from recado.api.shared.forms import NO_NUL, Given
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import Problem, describe
from recado.api.users import Password, PersonName, UserView
from recado.db.scope import Scope
from recado.errors import NotFound
from recado.identity import audit, invitations
from recado.identity.callers import Role
from recado.identity.invitations import Invitation
from recado.identity.users import EMAIL_CHARS

Email = Annotated[str, Field(min_length=3, max_length=EMAIL_CHARS, pattern=NO_NUL)]
_TOKEN = "ri_" + "0" * 43


class InvitationView(BaseModel):
    """An invitation without its token."""

    id: UUID
    email: str
    role: Role
    resets_password: Annotated[
        bool, Field(description="Whether it is for a user who existed: accepted, it gives them another password.")
    ]
    invited_by_kind: Annotated[
        Literal["key", "user", "platform", "cli"] | None, Field(description="Who made it, as in the audit.")
    ]
    invited_by_id: UUID | None
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


class NewInvitationView(InvitationView):
    """A new invitation, with its token, which is shown this once."""

    token: Annotated[
        str, Field(description="For `POST /v1/invitations/accept`; it can't be had again. Sending it is up to you.")
    ]


class NewInvitation(Given):
    """Whom to invite, and as what."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": examples.EMAIL, "role": "operator"}]}
    )

    email: Email
    role: Role


class Acceptance(Given):
    """What the invited answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"token": _TOKEN, "name": "Ana", "password": "cavalo bateria grampo"}]},
    )

    token: Annotated[str, Field(max_length=100)]
    name: PersonName | None = None
    password: Password


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


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
