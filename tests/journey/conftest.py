from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from recado import telemetry
from recado.db.embedded import Lease
from tests.conftest import SECRET_KEYS
from tests.model_server import ModelServer, say
from tests.postgres import create_database, drop_database
from tests.product import Company, Product

MODEL = "openai:scripted"


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    """The scripted model of this process; a test sets its script."""
    with ModelServer(say("?")) as server:
        before = {name: os.environ.get(name) for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
        os.environ |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "test"}
        yield server
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def product(
    cluster: Lease, template: str, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """A whole product, shared by the tests of this process; each makes an owner of its own."""
    url = create_database(cluster, template)
    telemetry.configure(format="json", level="DEBUG")
    home: Path = tmp_path_factory.mktemp("home")
    settings = {"secret_keys": SECRET_KEYS, "transcriber": "openai:whisper-1"}
    with Product(url, home, settings) as running:
        yield running
    drop_database(cluster, url)


@pytest.fixture(scope="session")
def reception(cluster: Lease, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """API and simulated Twilio without a worker: what is enqueued stays, a test does the work itself."""
    url = create_database(cluster, template)
    telemetry.configure(format="json", level="DEBUG")
    home: Path = tmp_path_factory.mktemp("reception")
    with Product(url, home, {"secret_keys": SECRET_KEYS}, work=False) as running:
        yield running
    drop_database(cluster, url)


@pytest.fixture(scope="session")
def _front_url(cluster: Lease, template: str) -> Iterator[str]:
    url = create_database(cluster, template)
    yield url
    drop_database(cluster, url)


@pytest.fixture
def front_url(_front_url: str) -> str:
    """A database without an owner, for a `Front`; emptied before each test, which is faster than a new one."""
    with psycopg.connect(_front_url) as conn:
        conn.execute("TRUNCATE recado.owners, dbos.workflow_status, recado.executors CASCADE")
    return _front_url


@pytest.fixture
def company(product: Product) -> Company:
    """An owner whose assistant has no model."""
    return product.company()
