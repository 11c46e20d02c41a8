from __future__ import annotations

import compileall
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import recado
from recado.db.embedded import Lease
from recado.db.migrate import migrate
from tests import postgres
from tests.lending import Databases
from tests.postgres import cluster, create_database

__all__ = ["cluster"]

#: A key of the tests alone: 32 bytes in URL-safe base64.
SECRET_KEYS = "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk="


def pytest_configure(config: pytest.Config) -> None:
    # What is imported and collected stays: looking through it for garbage is a fifth of the work of a small test.
    gc.disable()
    if not hasattr(config, "workerinput"):
        _keep_what_is_compiled()
        postgres.begin_run()


def _keep_what_is_compiled() -> None:
    """Let no process of the run compile what another has compiled; containers often tell Python not to keep it.

    A start of `recado` compiles for longer than it does anything else, and so does a worker that collects.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    compileall.compile_dir(Path(recado.__file__).parent, quiet=2)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    # Later than the session's end: with pytest-xdist the workers have left by now.
    if not hasattr(config, "workerinput"):
        postgres.end_run()


@pytest.fixture(scope="session")
def template(cluster: Lease) -> str:
    """The name of a database with the present schema, made once a run; nobody stays connected to it."""
    name = "template_recado"
    with psycopg.connect(cluster.admin_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(4711)")
        there = conn.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        if there is None:
            postgres.prepare(cluster, conn)
            url = create_database(cluster)
            migrate(url)
            made = url.rsplit("/", 1)[1].split("?")[0]
            conn.execute(f'ALTER DATABASE "{made}" RENAME TO {name}')
    return name


@pytest.fixture(scope="session")
def databases(cluster: Lease, template: str) -> Iterator[Databases]:
    """What lends databases to the tests of this process; they go with the cluster."""
    lending = Databases(cluster=cluster, template=template)
    yield lending
    lending.close()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated database of this test's own; works as RECADO_DATABASE_URL together with SECRET_KEYS.

    A test may do with it what it likes: what is left in it is gone before another test has it.
    """
    with databases.one() as url:
        yield url
