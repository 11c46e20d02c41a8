from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from recado.db.embedded import Lease
from tests.api.programs import Office, furnish
from tests.journey.front import open_front
from tests.postgres import create_database, drop_database


@pytest.fixture(scope="session")
def _office_url(cluster: Lease, template: str) -> Iterator[str]:
    url = create_database(cluster, template)
    yield url
    drop_database(cluster, url)


@pytest.fixture
async def office(_office_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """The application over ASGI with an owner who has one of everything; emptied before each test."""
    with psycopg.connect(_office_url) as conn:
        conn.execute("TRUNCATE recado.owners, recado.sign_in_failures, dbos.workflow_status CASCADE")
    async with open_front(_office_url, tmp_path) as front:
        yield await furnish(front)
