"""The API's door: who asks is known, may ask it, and the body is no larger than it may be.

A program shows a bearer key, a person's browser the cookie of a session; where there is a key, only the key counts.
All of it comes before the request is read any further, so that a stranger learns nothing but 401.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from recado.api.shared import browsers
from recado.api.shared.problems import FieldError, Problem
from recado.db.pool import Connection, Pool
from recado.db.scope import Scope, scoped
from recado.errors import Busy, NotFound
from recado.fair import Gate
from recado.identity import keys, owners, sessions
from recado.identity.callers import Caller, KeyScope
from recado.identity.sessions import Session
from recado.identity.users import Where
from recado.text import is_storable
from recado.wiring import Wiring

#: Texts are the largest that anybody sends here.
BODY_LIMIT: Final = 256 * 1024
#: The two ways to say who one is, as the description names them.
SCHEME: Final = "ApiKey"
SESSION: Final = "Session"
#: One of so many connections is left to webhooks and sign-ins. The others are the owners', in shares (`recado.fair`):
#: however many requests of one owner there are, another's have a connection at once. One waits so long for its turn.
SPARE: Final = 4
TURN_S: Final = 5.0
#: By this a platform administrator says for which owner they ask.
OWNER_HEADER: Final = "Recado-Owner"

_gates: WeakKeyDictionary[Pool, Gate] = WeakKeyDictionary()

_BEARER: Final = re.compile(r"[Bb]earer +(\S+)")
_ROLE_OF: Final[dict[KeyScope, str]] = {"read": "viewer", "write": "operator", "admin": "admin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of a known caller, for one owner."""

    caller: Caller
    owner_id: UUID
    wiring: Wiring

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Scope]:
        """A transaction that sees this owner's rows, once it is the owner's turn: see `SPARE`. Raises Busy."""
        pool = self.wiring.pool
        gate = _gates.setdefault(pool, Gate(pool.max_size - pool.max_size // SPARE))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(TURN_S):
                    await stack.enter_async_context(gate.turn(self.owner_id))
            except TimeoutError:
                raise Busy(1) from None
            yield await stack.enter_async_context(scoped(pool, self.owner_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A request of somebody who is signed in, about themselves or, of a platform administrator, about owners."""

    caller: Caller
    session: Session
    wiring: Wiring
    platform: Pool

    @asynccontextmanager
    async def where(self) -> AsyncIterator[Where]:
        """A transaction for what is theirs: of an owner's user it sees no more than that owner's rows."""
        if self.caller.owner_id is not None:
            async with scoped(self.wiring.pool, self.caller.owner_id) as scope:
                yield scope
            return
        async with self.across() as conn:
            yield conn

    @asynccontextmanager
    async def across(self) -> AsyncIterator[Connection]:
        """A transaction that sees all owners' rows, for what a platform administrator asks about owners."""
        async with self.platform.connection() as conn, conn.transaction():
            yield conn


def visit(request: Request) -> Visit:
    """Who asks; a dependency of every route about an owner's things."""
    return cast(Visit, request.state.visit)


def person(request: Request) -> Person:
    """Who asks; a dependency of every route that only people may ask."""
    return cast(Person, request.state.person)


def platform(request: Request) -> Pool:
    """The pool that sees all owners' rows, for those few routes that come before an owner, or are about all."""
    return cast(Pool, request.app.state.platform)


def source(request: Request) -> str:
    """The address that a request came from, as the edge sees it; empty when it can't be told whose it is."""
    return cast(Callable[[Any], str], request.app.state.source_of)(request.scope)


def needs(scope: KeyScope) -> dict[str, Any]:
    """What a route says of itself, and what `GuardedRoute` then demands: a key with this scope, or a user's role."""
    return {
        "security": [{SCHEME: [scope]}, {SESSION: [_ROLE_OF[scope]]}],
        "parameters": [
            {
                "name": OWNER_HEADER,
                "in": "header",
                "required": False,
                "schema": {"type": "string", "format": "uuid"},
                "description": "The owner that a platform administrator asks for, who has to say so. Of anybody else "
                "it may name their own owner only.",
            }
        ],
    }


#: What a route says of itself that everybody may ask who is signed in, a platform administrator only, or anybody.
SIGNED_IN: Final[dict[str, Any]] = {"security": [{SESSION: []}]}
PLATFORM: Final[dict[str, Any]] = {"security": [{SESSION: ["platform"]}]}
OPEN: Final[dict[str, Any]] = {"security": []}
#: What a route about an owner's things says of itself.
READ: Final = needs("read")
WRITE: Final = needs("write")
ADMIN: Final = needs("admin")
#: Who asks, as the parameter of a route: with READ, WRITE or ADMIN, with SIGNED_IN, with PLATFORM.
Who = Annotated[Visit, Depends(visit)]
Myself = Annotated[Person, Depends(person)]
Administrator = Annotated[Person, Depends(person)]


class GuardedRoute(APIRoute):
    """A route that lets nobody in but whom it says it is for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler behind the door."""
        handler = super().get_route_handler()
        enter = _entrance((self.openapi_extra or {})["security"])

        async def guarded(request: Request) -> Response:
            await enter(request)
            _check_storable(request)
            response = await handler(_limited(request, self.body_limit(request)))
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return guarded

    def body_limit(self, request: Request) -> int:
        """The most bytes that a body may hold."""
        return BODY_LIMIT


class UploadRoute(GuardedRoute):
    """A guarded route whose body is a file."""

    def body_limit(self, request: Request) -> int:
        """As much as RECADO_MEDIA_MAX_MB says."""
        wiring: Wiring = request.app.state.wiring
        return wiring.settings.media_max_mb * 1_000_000


def _entrance(security: list[dict[str, list[str]]]) -> Callable[[Request], Awaitable[None]]:
    """What comes before a route that says this of itself."""

    async def anybody(request: Request) -> None:
        browsers.check_site(request, silent=True)

    async def people(request: Request) -> None:
        request.state.person = await _person(request, "platform" in security[0][SESSION])

    async def callers(request: Request) -> None:
        [needed] = security[0][SCHEME]
        request.state.visit = await _visit(request, cast(KeyScope, needed))

    if not security:
        return anybody
    return callers if SCHEME in security[0] else people


async def _visit(request: Request, needed: KeyScope) -> Visit:
    wiring: Wiring = request.app.state.wiring
    if "authorization" in request.headers:
        caller = await _with_key(request, wiring)
    else:
        _, caller = await _with_session(request, wiring, "this needs an API key, or somebody who is signed in")
    if not caller.may(needed):
        raise Problem(
            403,
            f"this API key lacks the scope {needed}"
            if caller.kind == "key"
            else f"this needs a user with the role {_ROLE_OF[needed]}",
            headers=_challenge(f', error="insufficient_scope", scope="{needed}"'),
        )
    return Visit(caller=caller, owner_id=await _owner_of(request, wiring, caller), wiring=wiring)


async def _person(request: Request, of_platform: bool) -> Person:
    wiring: Wiring = request.app.state.wiring
    session, caller = await _with_session(request, wiring, "this needs somebody who is signed in")
    if of_platform and caller.kind != "platform":
        raise Problem(403, "this needs a platform administrator")
    return Person(caller=caller, session=session, wiring=wiring, platform=platform(request))


async def _with_key(request: Request, wiring: Wiring) -> Caller:
    presented = _BEARER.fullmatch(request.headers["authorization"])
    if presented is None:
        raise Problem(401, "this needs an API key", headers=_challenge())
    caller = await keys.authenticate(wiring.pool, presented[1], clock=wiring.clock)
    if caller is None or caller.owner_id is None:
        raise Problem(401, "this API key is not known, or not any more", headers=_challenge(', error="invalid_token"'))
    return caller


async def _with_session(request: Request, wiring: Wiring, otherwise: str) -> tuple[Session, Caller]:
    token = browsers.token_of(request)
    if token is None:
        raise Problem(401, otherwise, headers=_challenge())
    browsers.check_site(request, silent=False)
    found = await sessions.authenticate(wiring.pool, token, clock=wiring.clock)
    if found is None:
        raise Problem(401, "this session has ended: sign in again", headers=_challenge())
    return found


def _challenge(more: str = "") -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="recado"{more}'}


async def _owner_of(request: Request, wiring: Wiring, caller: Caller) -> UUID:
    """The owner that the caller belongs to; of a platform administrator the one that they name."""
    named = request.headers.get(OWNER_HEADER)
    if caller.owner_id is not None:
        if named is not None and named.strip().lower() != str(caller.owner_id):
            raise Problem(403, f"{OWNER_HEADER} is for platform administrators: this caller has an owner of its own")
        return caller.owner_id
    try:
        owner_id = UUID(named or "")
        async with scoped(wiring.pool, owner_id) as scope:
            await owners.get(scope.conn, owner_id)
    except (ValueError, NotFound):
        wrong = FieldError(where=f"header.{OWNER_HEADER}", detail="must be the id of an owner")
        raise Problem(422, "a platform administrator says for which owner they ask", errors=[wrong]) from None
    return owner_id


def _check_storable(request: Request) -> None:
    """Raise the problem of a path or query that holds what PostgreSQL can't store; bodies see to themselves."""
    for where, given in (("path", request.path_params.items()), ("query", request.query_params.multi_items())):
        if not all(is_storable(text) for pair in given for text in pair if isinstance(text, str)):
            problem = FieldError(where=where, detail="holds NUL, or half of a surrogate pair")
            raise Problem(422, "the request does not have the form that this route asks for", errors=[problem])


def _limited(request: Request, limit: int) -> Request:
    """The request, whose body breaks off where it grows too large."""
    too_large = Problem(413, f"a body holds {limit} bytes at most", headers={"Connection": "close"})
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:12]) > limit:
        raise too_large
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return Request(request.scope, receive)
