"""Connections for workflows: more work than connections waits for its turn, and is no outage."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from structlog.testing import capture_logs

from recado.db.borrowing import borrowed, patiently
from recado.db.pool import Pool, open_pool, persistently
from recado.db.scope import scoped
from recado.errors import TooMuch
from recado.fair import Gate

WORKS = 12


async def slow(pool: Pool, gate: Gate, owner: str, seconds: float, done: list[str]) -> None:
    async def transaction() -> None:
        async with scoped(pool, uuid4()) as scope:
            await scope.conn.execute("SELECT pg_sleep(%s)", [seconds])

    with patiently(gate, owner):
        await persistently(transaction)
    done.append(owner)


async def test_more_slow_transactions_than_connections_are_all_done_and_no_database_is_said_to_be_away(
    database_url: str,
) -> None:
    done: list[str] = []
    async with open_pool(database_url, "recado_app", size=2) as pool:
        pool.timeout = 0.1
        gate = Gate(4)  # more than there are connections: the pool's own time-out is met too
        with capture_logs() as logs:
            await asyncio.gather(*(slow(pool, gate, f"owner {n}", 0.3, done) for n in range(WORKS)))
    assert len(done) == WORKS
    assert [line["event"] for line in logs if line["event"] == "database_unavailable"] == []
    assert [line["event"] for line in logs] == ["connections_all_in_use"]


async def test_an_owner_with_slow_transactions_leaves_a_connection_to_another(database_url: str) -> None:
    done: list[str] = []
    async with open_pool(database_url, "recado_app", size=4) as pool:
        gate = Gate(4)
        slows = [asyncio.create_task(slow(pool, gate, "slow", 1.0, done)) for _ in range(8)]
        await asyncio.sleep(0)
        await slow(pool, gate, "quick", 0.0, done)
        assert done[0] == "quick"
        await asyncio.gather(*slows)


async def test_who_has_a_connection_and_needs_another_does_not_wait_for_itself(database_url: str) -> None:
    async with open_pool(database_url, "recado_app", size=2) as pool:
        with patiently(Gate(1), "one"):
            async with asyncio.timeout(20), borrowed(pool), borrowed(pool) as second:
                await second.execute("SELECT 1")


async def test_without_patience_a_caller_is_told_within_the_pools_time(database_url: str) -> None:
    async with open_pool(database_url, "recado_app", size=1) as pool:
        pool.timeout = 0.1
        async with borrowed(pool):
            with pytest.raises(PoolTimeout):
                async with borrowed(pool):
                    pass


async def test_a_database_that_does_not_answer_is_away() -> None:
    async with open_pool("postgresql://127.0.0.1:1/nothing", "recado_app", size=1) as pool:
        pool.timeout = 0.1
        with patiently(Gate(1), "one"), pytest.raises((PoolTimeout, psycopg.OperationalError)):
            async with borrowed(pool):
                pass


async def test_what_is_too_much_for_the_database_is_said_at_once_and_not_tried_for_ever() -> None:
    async def work() -> None:
        raise psycopg.errors.ProgramLimitExceeded("index row size 2848 exceeds btree version 4 maximum 2704")

    with pytest.raises(TooMuch, match="ProgramLimitExceeded"):
        await persistently(work)
