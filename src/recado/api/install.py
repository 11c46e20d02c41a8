"""Puts the JSON API into an application: routes, problem documents, and its part of the description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from recado.api import (
    assistants,
    audit,
    consent_words,
    contacts,
    conversations,
    erasures,
    events,
    invitations,
    keys,
    knowledge,
    media,
    metrics,
    numbers,
    owners,
    plans,
    retention,
    sessions,
    templates,
    twilio_accounts,
    usage,
    users,
    webhooks,
)
from recado.api.messages import routes as messages
from recado.api.shared import description, problems, reference
from recado.api.shared.door import OWNER_HEADER, SCHEME, SESSION
from recado.api.shared.problems import ProblemDocument
from recado.identity import sessions as sessions_of_people
from recado.wiring import Wiring

#: The nouns, in the order of the description; within one, words come before ids: `/users/me` is none.
PARTS = (
    sessions,
    users,
    invitations,
    keys,
    owners,
    retention,
    plans,
    twilio_accounts,
    numbers,
    templates,
    assistants,
    knowledge,
    contacts,
    erasures,
    consent_words,
    conversations,
    messages,
    media,
    events,
    webhooks,
    usage,
    metrics,
    audit,
)


def install(app: FastAPI, wiring: Wiring, source_of: Callable[[Scope], str]) -> None:
    """Serve `/v1` from `app`, whose lifespan has to keep the platform's pool in `app.state.platform`.

    `source_of` tells which address counts as a request's, empty when that can't be told.
    """
    app.state.wiring = wiring
    app.state.source_of = source_of
    app.router.routes.extend(_routes())
    problems.install(app)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(describe())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend it
    # Before FastAPI's own, which renders hundreds of kilobytes for each stranger who asks.
    app.router.routes[:0] = _descriptions(app)


def _descriptions(app: FastAPI) -> list[BaseRoute]:
    """The routes that describe all others, for programs and for people; each is rendered once."""

    @cache
    def rendered() -> bytes:
        return bytes(JSONResponse(app.openapi()).body)

    @cache
    def page() -> bytes:
        return reference.render(app.openapi()).encode()

    async def description_of_all(_: Request) -> Response:
        return Response(rendered(), media_type="application/json")

    async def page_of_all(_: Request) -> Response:
        return Response(page(), media_type="text/html", headers=reference.HEADERS)

    async def style(_: Request) -> Response:
        return Response(reference.STYLE, media_type="text/css", headers=reference.HEADERS)

    described = (
        ("/openapi.json", description_of_all),
        (reference.PATH, page_of_all),
        (reference.STYLE_PATH, style),
    )
    return [Route(path, endpoint, include_in_schema=False) for path, endpoint in described]


@cache
def _routes() -> Sequence[BaseRoute]:
    """The API's routes, included once a process: what FastAPI makes of them at the first request serves every app.

    So an application's own defaults (`dependency_overrides`, a response class) have no say in them.
    """
    together = APIRouter()
    for part in PARTS:
        together.include_router(part.router)
    together.include_router(media.public)
    return tuple(together.routes)


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    """The description with the security scheme and the problem's schema, and without FastAPI's own errors."""
    components = schema.setdefault("components", {})
    components["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An owner's API key, `rk_...`, made by `recado keys add` or `POST /v1/keys`. Its scopes "
            "are `read`, `write` (which includes `read`), `admin` (which includes both) and `webhooks` (nothing here).",
        },
        SESSION: {
            "type": "apiKey",
            "in": "cookie",
            "name": sessions_of_people.cookie(secure=True).name,
            "description": "The session of somebody who has signed in by `POST /v1/sessions`, which sets the cookie; "
            f"by plain http on a developer's own machine it is named `{sessions_of_people.cookie(secure=False).name}`. "
            "What changes something must come from our own pages: `Sec-Fetch-Site: same-origin`, or else our `Origin`. "
            "Where there is an `Authorization` header, the cookie counts for nothing. `viewer`, `operator` and `admin` "
            "are roles of which the later include the earlier; `platform` are platform administrators, who may do "
            f"everything for the owner that they name in `{OWNER_HEADER}`.",
        },
    }
    schemas = components.setdefault("schemas", {})
    document = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(document.pop("$defs"))
    schemas["ProblemDocument"] = document
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    description.complete(schema)
    return schema
