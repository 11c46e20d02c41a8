from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.programs import Office, furnish
from tests.journey.front import open_front


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """The application over ASGI with an owner who has one of everything."""
    async with open_front(database_url, tmp_path) as front:
        yield await furnish(front)
