from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from recado.db.pool import Pool, open_pool
from recado.db.scope import Scope, scoped
from recado.identity import owners, passwords, users
from recado.identity.owners import Owner
from recado.identity.users import User
from tests.clock import TestClock

#: The cheapest parameters that argon2 takes: the tests are about what is done, not how hard it is.
CHEAP = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
PASSWORD = "cavalo bateria grampo"


@dataclass(slots=True)
class Counted:
    """An argon2 that counts the work it is given."""

    work: list[str] = field(default_factory=list)
    hashing: PasswordHash = field(init=False)

    def __post_init__(self) -> None:
        counted = self.work

        class Hasher(Argon2Hasher):
            def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
                counted.append("hash")
                return super().hash(password, salt=salt)

            def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002 - its word
                counted.append("verify " + str(hash).rpartition("$")[0].rpartition("$")[0])
                return super().verify(password, hash)

        self.hashing = PasswordHash((Hasher(time_cost=1, memory_cost=8, parallelism=1),))


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A database with one owner, seen as the application sees it and as the platform does."""

    app: Pool
    platform: Pool
    owner: Owner
    clock: TestClock

    async def user(
        self, email: str = "ana@padaria.example", *, role: str = "operator", password: str = PASSWORD
    ) -> User:
        hashed = await passwords.make_hash(password, hashing=CHEAP)
        async with scoped(self.app, self.owner.id) as scope:
            made, _ = await users.put(scope, email=email, role=role, password_hash=hashed, now=self.clock.now())
        return made

    async def administrator(self, email: str = "root@platform.example", *, password: str = PASSWORD) -> User:
        hashed = await passwords.make_hash(password, hashing=CHEAP)
        async with self.platform.connection() as conn, conn.transaction():
            made, _ = await users.put(conn, email=email, role="admin", password_hash=hashed, now=self.clock.now())
        return made

    async def another_owner(self, name: str = "Outra") -> Owner:
        async with self.platform.connection() as conn:
            return await owners.add(conn, name)

    def scope(self) -> AbstractAsyncContextManager[Scope]:
        return scoped(self.app, self.owner.id)

    async def value(self, query: str, *parameters: object) -> object:
        async with self.platform.connection() as conn:
            row = await (await conn.execute(query, parameters)).fetchone()
        return next(iter(row.values())) if row else None


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    """A database without users, keys and entries."""
    async with (
        open_pool(database_url, "recado_app", size=4) as app,
        open_pool(database_url, "recado_platform", size=4) as platform,
    ):
        async with platform.connection() as conn:
            owner = await owners.add(conn, "Padaria Central")
        yield House(app=app, platform=platform, owner=owner, clock=TestClock())
