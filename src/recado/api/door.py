"""The API's door: a bearer key is known, its scopes cover the route, and the body is no larger than it may be.

All of it comes before the request is read any further, so that nobody learns more than 401 without a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from recado.api.problems import Problem
from recado.db.scope import Scope, scoped
from recado.identity import keys
from recado.identity.callers import Caller, KeyScope
from recado.wiring import Wiring

#: Texts are the largest that anybody sends here.
BODY_LIMIT: Final = 256 * 1024
SCHEME: Final = "ApiKey"
_BEARER: Final = re.compile(r"[Bb]earer +(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of a known caller, for one owner."""

    caller: Caller
    owner_id: UUID
    wiring: Wiring

    def scope(self) -> AbstractAsyncContextManager[Scope]:
        """A transaction that sees this owner's rows."""
        return scoped(self.wiring.pool, self.owner_id)


def visit(request: Request) -> Visit:
    """Who asks; a dependency of every route."""
    return cast(Visit, request.state.visit)


def needs(scope: KeyScope) -> dict[str, Any]:
    """What a route says of itself, and what `GuardedRoute` then demands: a key with this scope."""
    return {"security": [{SCHEME: [scope]}]}


class GuardedRoute(APIRoute):
    """A route that lets nobody in without a key whose scopes cover what it says it needs."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler behind the door."""
        handler = super().get_route_handler()
        [requirement] = (self.openapi_extra or {})["security"]
        [scope] = requirement[SCHEME]

        async def guarded(request: Request) -> Response:
            request.state.visit = await _let_in(request, scope)
            return await handler(_limited(request, self.body_limit(request)))

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


async def _let_in(request: Request, scope: KeyScope) -> Visit:
    wiring: Wiring = request.app.state.wiring
    presented = _BEARER.fullmatch(request.headers.get("authorization", ""))
    if presented is None:
        raise Problem(401, "this needs an API key", headers={"WWW-Authenticate": 'Bearer realm="recado"'})
    caller = await keys.authenticate(wiring.pool, presented[1], clock=wiring.clock)
    if caller is None or caller.owner_id is None:
        raise Problem(
            401,
            "this API key is not known, or not any more",
            headers={"WWW-Authenticate": 'Bearer realm="recado", error="invalid_token"'},
        )
    if not caller.may(scope):
        raise Problem(
            403,
            f"this API key lacks the scope {scope}",
            headers={"WWW-Authenticate": f'Bearer realm="recado", error="insufficient_scope", scope="{scope}"'},
        )
    return Visit(caller=caller, owner_id=caller.owner_id, wiring=wiring)


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
