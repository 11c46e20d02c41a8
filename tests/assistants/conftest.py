"""One migrated database a worker of pytest-xdist; each test is an owner of its own in it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from recado.db.pool import Pool, connect, open_pool
from recado.db.scope import Scope, scoped
from recado.ids import new_id
from tests.lending import Databases


@pytest.fixture(scope="session")
def database_url(databases: Databases) -> Iterator[str]:
    with databases.one() as url:
        yield url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, "recado_app", size=4) as opened:
        yield opened


@pytest.fixture
async def owner_id(database_url: str) -> uuid.UUID:
    return await new_owner(database_url)


@pytest.fixture
async def scope(pool: Pool, owner_id: uuid.UUID) -> AsyncIterator[Scope]:
    async with scoped(pool, owner_id) as opened:
        yield opened


async def new_owner(database_url: str) -> uuid.UUID:
    owner = new_id()
    connection: psycopg.AsyncConnection[dict[str, object]] = await connect(database_url, "recado_platform")
    async with connection:
        await connection.execute("INSERT INTO owners (id, name) VALUES (%s, %s)", [owner, f"owner {owner}"])
    return owner
