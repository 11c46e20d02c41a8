from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recado import telemetry
from tests.conftest import SECRET_KEYS
from tests.lending import Databases
from tests.model_server import ModelServer, say
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
    databases: Databases, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """A whole product, shared by the tests of this process; each makes an owner of its own."""
    telemetry.configure(format="json", level="DEBUG")
    home: Path = tmp_path_factory.mktemp("home")
    settings = {"secret_keys": SECRET_KEYS, "transcriber": "openai:whisper-1"}
    with databases.one() as url, Product(url, home, settings) as running:
        yield running


@pytest.fixture(scope="session")
def reception(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """API and simulated Twilio without a worker: what is enqueued stays, a test does the work itself."""
    telemetry.configure(format="json", level="DEBUG")
    home: Path = tmp_path_factory.mktemp("reception")
    with databases.one() as url, Product(url, home, {"secret_keys": SECRET_KEYS}, work=False) as running:
        yield running


@pytest.fixture
def front_url(database_url: str) -> str:
    """A database without an owner, for a `Front`."""
    return database_url


@pytest.fixture
def company(product: Product) -> Company:
    """An owner whose assistant has no model."""
    return product.company()
