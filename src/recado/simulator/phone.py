"""The phone in the browser: one page at `/phone`, its files, and the live events at `/sim/events`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates
from sse_starlette import EventSourceResponse, ServerSentEvent

import recado
from recado.simulator import feed
from recado.simulator.engine import Engine

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def phone_pages(engine: Engine) -> APIRouter:
    """The routes of the phone."""
    router = APIRouter(include_in_schema=False)
    templates = Jinja2Templates(directory=FOLDER / "templates")

    @router.get("/")
    async def home() -> Response:
        return RedirectResponse("/phone")

    @router.get("/phone")
    async def phone(request: Request) -> Response:
        answer = templates.TemplateResponse(request, "phone.html", {"version": recado.__version__})
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @router.get("/sim/events")
    async def events() -> Response:
        return EventSourceResponse(_events(engine))

    return router


async def _events(engine: Engine) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(data=json.dumps({"type": "resync"}))
    async for event in feed.watch(engine.feed):
        yield ServerSentEvent(data=json.dumps(event))
