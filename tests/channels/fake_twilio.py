"""A Twilio of one socket that answers as a test tells it; the product's own simulator is another, larger thing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

ACCOUNT = "AC" + "0" * 32
CONTACT = "whatsapp:+5511987654321"
NUMBER = "whatsapp:+14155238886"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def message(sid: str = "SM" + "a" * 32, **changes: Any) -> dict[str, Any]:
    """A message as Twilio's API shows it."""
    return {
        "sid": sid,
        "account_sid": ACCOUNT,
        "status": "queued",
        "direction": "outbound-api",
        "to": CONTACT,
        "from": NUMBER,
        "body": "Olá!",
        "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
        "date_sent": None,
        "error_code": None,
        "error_message": None,
        **changes,
    }


@dataclass(slots=True)
class FakeTwilio:
    """`answer` is what the next calls get; `calls` is what came: method, path with query, form, headers."""

    url: str = ""
    answer: Answer | None = None
    calls: list[tuple[str, str, list[tuple[str, str]], dict[str, str]]] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    def gives(self, content: Any, status: int = 200, **headers: str) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.json_response(
                content, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )

        self.answer = answer

    def gives_text(self, text: str, status: int = 200) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(text=text, status=status)

        self.answer = answer

    def hangs(self) -> None:
        """Until `held` is set; then it says yes."""

        async def answer(_: web.Request) -> web.StreamResponse:
            await self.held.wait()
            return web.json_response(message(), status=201)

        self.answer = answer

    def drops(self, *, in_the_middle: bool = False) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            if in_the_middle:
                response = web.StreamResponse(status=201, headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b'{"sid": "SM')
            request.transport.abort()
            return web.Response()

        self.answer = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = parse_qsl((await request.read()).decode(), keep_blank_values=True)
        self.calls.append((request.method, request.raw_path, form, dict(request.headers)))
        self.called.set()
        assert self.answer is not None
        return await self.answer(request)
