"""Sessions of people who sign in with a password, and what ends them all: another password."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import browsers, examples, pages
from recado.api.shared.door import OPEN, SIGNED_IN, GuardedRoute, Myself, Person, platform, source
from recado.api.shared.forms import Given
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import Problem, describe
from recado.api.users import MeView, Password, signed_in_user
from recado.errors import SignInRefused
from recado.identity import audit, sessions, users
from recado.identity import sign_in as signing_in
from recado.identity.sessions import Session
from recado.identity.sign_in import SignedIn
from recado.identity.users import User


class SessionView(BaseModel):
    """One sign-in, from one browser. It ends at `ends_at` unless it is used before."""

    id: UUID
    created_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    current: Annotated[bool, Field(description="Whether it is the session of this request.")]


class CurrentSessionView(SessionView):
    """The session of this request, and whose it is. Its token is in the cookie alone."""

    user: MeView


class EndedView(BaseModel):
    """How many sessions ended."""

    ended: int


class Credentials(Given):
    """What a person signs in with."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": examples.EMAIL, "password": "cavalo bateria grampo"}]}
    )

    # Any text: whoever mistypes their address hears the same as whoever mistypes their password.
    email: Annotated[str, Field(max_length=1_000)]
    password: Password
    owner_id: Annotated[
        UUID | None,
        Field(
            description="Of which owner, where several know the address. If not given, the password decides; if it is "
            "the same there too, the one signed in to last, and in a browser that is known its user."
        ),
    ] = None


class NewPassword(Given):
    """Another password, for whoever knows the present one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"password": "cavalo bateria grampo", "new_password": "um outro segredo bom"}]},
    )

    password: Password
    new_password: Password


router = APIRouter(prefix="/v1", route_class=GuardedRoute)
Platform = Annotated[AsyncConnectionPool[Any], Depends(platform)]
Source = Annotated[str, Depends(source)]


@router.post(
    "/sessions",
    tags=["Sessions"],
    operation_id="sign_in",
    status_code=201,
    responses=describe(429),
    openapi_extra=OPEN,
)
async def sign_in(
    request: Request, response: Response, given: Credentials, everybody: Platform, came_from: Source
) -> CurrentSessionView:
    """Sign in: the answer sets the session's cookie. The session that the browser came with ends.

    401 does not say what was wrong. After some failures of an address or a source comes 429, longer each time. A second
    cookie makes the browser known: from it the same user may sign in while others' guesses have locked their address.
    """
    wiring = request.app.state.wiring
    try:
        signed_in = await signing_in.sign_in(
            everybody,
            email=given.email,
            password=given.password,
            source=came_from,
            previous=browsers.token_of(request),
            browser=browsers.known_by(request),
            owner_id=given.owner_id,
            clock=wiring.clock,
        )
    except SignInRefused as refused:
        raise _refusal(refused) from None
    return _kept(request, response, signed_in)


@router.get("/sessions", tags=["Sessions"], operation_id="list_sessions", responses=describe(), openapi_extra=SIGNED_IN)
async def list_sessions(who: Myself, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[SessionView]:
    """One's own sessions that have not ended, oldest first."""
    after = pages.read(cursor)
    async with who.where() as where:
        found = await sessions.list_(where, who.session.user_id, now=who.wiring.clock.now())
    shown = pages.cut(found, after, limit)
    return Page[SessionView](
        items=[_view(session, current=session.id == who.session.id) for session in shown[:limit]],
        next=pages.write(shown[limit - 1].id) if len(shown) > limit else None,
    )


@router.delete(
    "/sessions", tags=["Sessions"], operation_id="end_sessions", responses=describe(), openapi_extra=SIGNED_IN
)
async def end_sessions(request: Request, who: Myself, response: Response) -> EndedView:
    """Sign out everywhere: all of one's own sessions end, this one too.

    None of one's browsers is known any more: from each the next sign-in is like the first.
    """
    async with who.where() as where:
        ended = await users.end_sessions(where, who.session.user_id, now=who.wiring.clock.now())
        await audit.record(where, who.caller, "end_sessions", "user", str(who.session.user_id))
    browsers.forget(request, response)
    return EndedView(ended=ended)


@router.get(
    "/sessions/current",
    tags=["Sessions"],
    operation_id="get_session",
    responses=describe(),
    openapi_extra=SIGNED_IN,
)
async def get_session(who: Myself) -> CurrentSessionView:
    """The session of this request, and whose it is."""
    return _current(who.session, await signed_in_user(who))


@router.delete(
    "/sessions/current",
    tags=["Sessions"],
    operation_id="sign_out",
    status_code=204,
    responses=describe(),
    openapi_extra=SIGNED_IN,
)
async def sign_out(request: Request, who: Myself) -> Response:
    """Sign out: this session ends."""
    await _end(who, who.session.id)
    response = Response(status_code=204)
    browsers.forget(request, response)
    return response


@router.delete(
    "/sessions/{session_id}",
    tags=["Sessions"],
    operation_id="end_session",
    status_code=204,
    responses=describe(404),
    openapi_extra=SIGNED_IN,
)
async def end_session(who: Myself, session_id: UUID) -> Response:
    """End one of one's own sessions, for instance that of a lost telephone."""
    await _end(who, session_id)
    return Response(status_code=204)


@router.put(
    "/users/me/password",
    tags=["Users"],
    operation_id="change_password",
    responses=describe(429),
    openapi_extra=SIGNED_IN,
)
async def change_password(
    request: Request, response: Response, who: Myself, given: NewPassword, came_from: Source
) -> CurrentSessionView:
    """Change one's own password. All one's sessions end, and a new one begins, whose cookie the answer sets.

    A wrong present password counts as a failed sign-in does, and is answered like one.
    """
    try:
        changed = await signing_in.change_password(
            who.platform,
            email=who.caller.name,
            user_id=who.session.user_id,
            password=given.password,
            new=given.new_password,
            source=came_from,
            browser=browsers.known_by(request),
            clock=who.wiring.clock,
        )
    except SignInRefused as refused:
        raise _refusal(refused) from None
    return _kept(request, response, changed)


def _refusal(refused: SignInRefused) -> Problem:
    if refused.retry_after_s:
        return Problem(429, str(refused), headers={"Retry-After": str(refused.retry_after_s)})
    return Problem(401, str(refused), headers={"WWW-Authenticate": 'Bearer realm="recado"'})


def _kept(request: Request, response: Response, signed_in: SignedIn) -> CurrentSessionView:
    browsers.keep(request, response, signed_in.token)
    browsers.know(request, response, signed_in.browser)
    return _current(signed_in.session, signed_in.user)


async def _end(who: Person, session_id: UUID) -> None:
    async with who.where() as where:
        await sessions.end_one(where, who.session.user_id, session_id, now=who.wiring.clock.now())
        await audit.record(where, who.caller, "sign_out", "session", str(session_id))


def _view(session: Session, *, current: bool) -> SessionView:
    return SessionView(
        id=session.id,
        created_at=session.created_at,
        last_seen_at=session.last_seen_at,
        ends_at=session.ends_at,
        current=current,
    )


def _current(session: Session, user: User) -> CurrentSessionView:
    return CurrentSessionView(
        **_view(session, current=True).model_dump(), user=MeView.model_validate(user, from_attributes=True)
    )
