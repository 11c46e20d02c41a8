"""Who plays in the simulator's tests: the account, the contact, the application under Twilio, the official client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

ACCOUNT = "AC" + "0" * 32
TOKEN = "a-token-of-tests"
NUMBER = "whatsapp:+14155238886"
CONTACT = "whatsapp:+5511987654321"


@dataclass(kw_only=True)
class Hit:
    """A webhook as the application got it."""

    path: str
    query: str
    target: str
    headers: dict[str, str]
    params: dict[str, str]


@dataclass(kw_only=True)
class Receiver:
    """The application under Twilio: remembers what it got, answers what `answers` holds, then 200."""

    url: str = ""
    hits: list[Hit] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    delay_s: float = 0.0

    async def take(self, request: web.Request) -> web.Response:
        form = await request.post()
        params = {name: str(value) for name, value in form.items()}
        self.hits.append(
            Hit(
                path=request.path,
                query=request.query_string,
                target=request.raw_path,
                headers=dict(request.headers),
                params=params,
            )
        )
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    def statuses(self) -> list[str]:
        return [hit.params["MessageStatus"] for hit in self.hits if "MessageStatus" in hit.params]

    async def until(self, fits: Callable[[], bool], timeout_s: float = 30.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not fits():
                await asyncio.sleep(0.01)


@contextmanager
def official_client(
    base_url: str, *, user: str = ACCOUNT, password: str = TOKEN, timeout: float = 10
) -> Iterator[Client]:
    http = TwilioHttpClient(timeout=timeout)
    client = Client(user, password, account_sid=ACCOUNT, http_client=http)
    client.api.base_url = base_url
    yield client
    http.session.close()
