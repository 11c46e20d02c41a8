"""Puts the JSON API into an application: routes, problem documents, and its part of the description."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from recado.api import (
    accounting,
    answering,
    channels,
    consent,
    description,
    media,
    people,
    problems,
    reading,
    sending,
    templates,
    writing,
)
from recado.api.door import SCHEME
from recado.api.problems import ProblemDocument
from recado.wiring import Wiring

PARTS = (reading, sending, writing, channels, answering, templates, accounting, people, media, consent)


def install(app: FastAPI, wiring: Wiring) -> None:
    """Serve `/v1` from `app`."""
    app.state.wiring = wiring
    for part in PARTS:
        app.include_router(part.router)
    app.include_router(media.public)
    problems.install(app)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(describe())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend it


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    """The description with the security scheme and the problem's schema, and without FastAPI's own errors."""
    components = schema.setdefault("components", {})
    components["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An owner's API key, `rk_...`, made by `recado keys add` or `POST /v1/keys`. Its scopes "
            "are `read`, `write` (which includes `read`), `admin` (which includes both) and `webhooks` (nothing here).",
        }
    }
    schemas = components.setdefault("schemas", {})
    document = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(document.pop("$defs"))
    schemas["ProblemDocument"] = document
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    description.complete(schema)
    return schema
