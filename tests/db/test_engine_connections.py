"""The workflow engine's connections: kept ready, asked whether they live only when they may not, planned anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from recado.db import pool


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    made = pool.engine(database_url, size=1)
    yield made
    made.dispose()


def asked(engine: sa.Engine, query: str = "SELECT pg_backend_pid()") -> Any:
    with engine.begin() as conn:
        return conn.exec_driver_sql(query).scalar()


def cut(database_url: str, pid: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_one_that_was_broken_while_nobody_used_it_is_replaced_unseen(
    database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked(engine)
    cut(database_url, first)
    monkeypatch.setattr(pool, "FRESH_S", -1.0)
    assert asked(engine) not in (None, first)


def test_one_that_was_used_a_moment_ago_is_not_asked_and_its_error_is_heard_once(
    database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "FRESH_S", 3600.0)
    first = asked(engine)
    cut(database_url, first)
    with pytest.raises(sa.exc.OperationalError):
        asked(engine)
    assert asked(engine) not in (None, first)


def test_its_statements_are_planned_once_and_anew_after_as_many_uses_again(engine: sa.Engine) -> None:
    assert asked(engine, "SHOW plan_cache_mode") == "force_generic_plan"
    plans = "SELECT coalesce(sum(generic_plans), -1) FROM pg_prepared_statements WHERE statement LIKE '%% AS counted%%'"

    def made() -> int:
        asked(engine, "SELECT 1 AS counted")
        return int(asked(engine, plans))

    counts = [made() for _ in range(20)]
    assert counts[-1] > 1, "it is prepared, and by generic plans"
    with engine.begin() as conn:
        assert conn.connection.info["renewals"] == 2
