from __future__ import annotations

import pytest

from tests import postgres
from tests.postgres import cluster

__all__ = ["cluster"]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        postgres.begin_run()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    # Later than the session's end: with pytest-xdist the workers have left by now.
    if not hasattr(config, "workerinput"):
        postgres.end_run()
