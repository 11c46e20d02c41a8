from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest

from recado.clock import SystemClock
from recado.conversations import events
from recado.db.pool import Pool, open_pool
from recado.db.scope import scoped
from recado.db.secrets import Keyring, keyring
from recado.ids import new_id
from recado.webhooks import endpoints
from recado.webhooks.endpoints import Webhook
from recado.webhooks.loop import Loop
from recado.webhooks.post import Poster
from recado.webhooks.rounds import Desk
from tests import lending
from tests.conftest import SECRET_KEYS

HERE = (ip_network("127.0.0.0/8"),)


@dataclass(slots=True)
class Post:
    """Owners with events, and workers that post them."""

    pool: Pool
    platform: Pool
    url: str
    keyring: Keyring
    owner_id: UUID
    secrets: dict[UUID, str] = field(default_factory=dict)

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        return lending.rows(self.url, query, *parameters)

    async def owner(self, status: str = "active") -> UUID:
        """Another owner."""
        owner_id = new_id()
        self.rows("INSERT INTO owners (id, name, status) VALUES (%s, %s, %s)", owner_id, str(owner_id), status)
        return owner_id

    async def add(self, url: str, *, owner_id: UUID | None = None, types: list[str] | None = None) -> Webhook:
        async with scoped(self.pool, owner_id or self.owner_id) as scope:
            made, secret = await endpoints.add(scope, self.keyring, url=url, types=types or [], networks=HERE)
        self.secrets[made.id] = secret
        return made

    async def look(self, made: Webhook, *, owner_id: UUID | None = None) -> Webhook:
        async with scoped(self.pool, owner_id or self.owner_id) as scope:
            return await endpoints.get(scope, made.id)

    async def happen(
        self, *whats: str, conversation_id: UUID | None = None, step: str = "confirm", owner_id: UUID | None = None
    ) -> None:
        for what in whats:
            async with scoped(self.pool, owner_id or self.owner_id) as scope:
                await events.record(scope, step=step, what=what, conversation_id=conversation_id)

    async def change(self, query: str, *parameters: Any) -> None:
        """Change rows, while transactions of this loop may hold them."""
        await asyncio.to_thread(self.rows, query, *parameters)

    async def hurry(self) -> None:
        """What waits for its time is due now."""
        # The endpoint first, as whoever posts for it: else two may wait for each other.
        await self.change(
            "WITH held AS (UPDATE webhooks SET next_at = least(next_at, now()) RETURNING owner_id, id) "
            "UPDATE webhook_waiting q SET next_at = now() FROM held h "
            "WHERE (q.owner_id, q.webhook_id) = (h.owner_id, h.id)"
        )

    @asynccontextmanager
    async def worker(self, *, answer_s: float = 15.0, rounds: int = 64, name: str = "w1") -> AsyncIterator[Loop]:
        """A worker that posts while this is open; at the end it lets go of everything."""
        self.rows(
            "INSERT INTO executors (id, lock_key, kind, host, pid, queues) "
            "VALUES (%s, hashtext(%s), 'worker', 'x', 1, '{}') ON CONFLICT DO NOTHING",
            name,
            name,
        )
        poster = Poster(HERE, answer_s=answer_s)
        desk = Desk(pool=self.pool, clock=SystemClock(), keyring=self.keyring, poster=poster)
        loop = Loop(desk=desk, platform=self.platform, holder=name, look_s=0.05, rounds=rounds)
        task = asyncio.create_task(loop.run())
        try:
            yield loop
        finally:
            loop.stop()
            async with asyncio.timeout(30):
                await task
            await poster.aclose()

    async def until(
        self, made: Webhook, done: Callable[[Webhook], bool], *, owner_id: UUID | None = None, hurry: bool = False
    ) -> Webhook:
        """Wait until the endpoint is so; in a hurry, nothing that waits for its time does."""
        async with asyncio.timeout(60):
            while not done(found := await self.look(made, owner_id=owner_id)):
                if hurry:
                    await self.hurry()
                await asyncio.sleep(0.03)
        return found


@pytest.fixture
async def post(database_url: str) -> AsyncIterator[Post]:
    """An owner whose events are posted."""
    async with (
        open_pool(database_url, "recado_app", size=8) as pool,
        open_pool(database_url, "recado_platform", size=2) as platform,
    ):
        made = Post(pool, platform, database_url, keyring([SECRET_KEYS]), new_id())
        made.rows("INSERT INTO owners (id, name) VALUES (%s, 'Padaria')", made.owner_id)
        yield made
