"""People at their browsers, which call the JSON API over ASGI with the cookie of a session."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2

from recado.db.scope import scoped
from recado.identity import sessions, users
from recado.identity.sessions import Session
from recado.identity.users import User
from tests.identity.conftest import CHEAP, PASSWORD
from tests.journey.front import PUBLIC_URL, Front

COOKIE = "__Host-recado"
OURS = {"Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser with this cookie; without a token it has none."""

    front: Front
    token: str | None = None
    base_url: str = PUBLIC_URL
    cookie: str = COOKIE
    client: str = "203.0.113.9"

    async def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """A request as one of our own pages makes it, unless `headers` say otherwise."""
        given = dict(OURS if headers is None else headers)
        if self.token is not None:
            given["Cookie"] = f"{self.cookie}={self.token}"
        transport = httpx2.ASGITransport(self.front.app, raise_app_exceptions=False, client=(self.client, 40000))
        async with httpx2.AsyncClient(transport=transport, base_url=self.base_url) as http:
            return await http.request(method, path, headers=given, **more)

    async def get(self, path: str, **more: Any) -> Any:
        """The body of an answer that must be 200."""
        answer = await self.ask("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def change(self, path: str, given: dict[str, Any]) -> httpx2.Response:
        """A change of the version that is there now."""
        read = (await self.ask("GET", path)).headers["ETag"]
        return await self.ask("PATCH", path, json=given, headers=OURS | {"If-Match": read})

    async def sign_in(self, email: str, password: str = PASSWORD, **more: Any) -> httpx2.Response:
        return await self.ask("POST", "/v1/sessions", json={"email": email, "password": password}, **more)

    def after(self, answer: httpx2.Response) -> Browser:
        """The same browser with the cookie that the answer set."""
        name, _, rest = answer.headers["Set-Cookie"].partition("=")
        return Browser(self.front, rest.partition(";")[0], self.base_url, name, self.client)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user and the browser in which they are signed in."""

    user: User
    session: Session
    browser: Browser


async def join(front: Front, role: str, *, owner_id: UUID | None = None, platform: bool = False) -> SignedIn:
    """A new user of the owner, or a platform administrator, signed in."""
    email, now = f"{role}-{secrets.token_hex(4)}@padaria.example", front.wiring.clock.now()
    given: dict[str, Any] = {"email": email, "role": role, "password_hash": CHEAP.hash(PASSWORD), "now": now}
    async with await front.wiring.connect("recado_platform") as conn:
        if platform:
            user, _ = await users.put(conn, **given)
        else:
            async with scoped(front.wiring.pool, owner_id or front.owner_id) as scope:
                user, _ = await users.put(scope, **given)
        session, token = await sessions.begin(conn, user, now=now)
    return SignedIn(user, session, Browser(front, token))
