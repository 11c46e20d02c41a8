from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.api.programs import Office, furnish
from tests.journey.front import open_front
from tests.lending import Databases


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """The application over ASGI with an owner who has one of everything."""
    async with open_front(database_url, tmp_path) as front:
        yield await furnish(front)


#: Tests of a module that have one office together, which each leaves as it was: what is refused, what is only read.
TOGETHER = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_office(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """The same for all tests of a module that are `TOGETHER`."""
    with databases.one() as url:
        async with open_front(url, tmp_path_factory.mktemp("office")) as front:
            yield await furnish(front)
