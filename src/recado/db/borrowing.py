"""Connections for work that nobody waits for on a line: more of it than there are connections is no outage.

A webhook's caller hears 503 when no connection is free for three seconds. A workflow waits for its turn instead, as
long as it takes, and only a database that does not answer is one that is away. Owners take turns (`recado.fair`), so
that one whose transactions are slow, or many, leaves connections to the others.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from recado.db.pool import Connection, Pool
from recado.fair import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Iterator

log = structlog.get_logger(__name__)

#: How often it is said of a pool that all its connections are in use.
BUSY_S: Final = 60.0
#: What PostgreSQL says while it lives and has no connection left.
_FULL: Final = ("too many clients", "too many connections", "remaining connection slots", "no more connections")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patience:
    """Whose work it is, and the gate where it waits for its turn; None while it has a connection."""

    gate: Gate | None
    owner: Hashable


_patience: ContextVar[_Patience | None] = ContextVar("patience", default=None)
_told: dict[str, float] = {}


@contextmanager
def patiently(gate: Gate, owner: Hashable) -> Iterator[None]:
    """What is done in it waits for connections as long as it takes, in the owner's share of the gate."""
    token = _patience.set(_Patience(gate=gate, owner=owner))
    try:
        yield
    finally:
        _patience.reset(token)


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool. Raises PoolTimeout when none was free within the pool's time-out.

    Inside `patiently` that is raised only when the database does not answer either.
    """
    patience = _patience.get()
    if patience is None:
        async with pool.connection() as conn:
            yield conn
    elif patience.gate is None:  # within another of its own: waiting for a turn would be waiting for itself
        async with _waited_for(pool) as conn:
            yield conn
    else:
        async with patience.gate.turn(patience.owner):
            token = _patience.set(_Patience(gate=None, owner=patience.owner))
            try:
                async with _waited_for(pool) as conn:
                    yield conn
            finally:
                _patience.reset(token)


@asynccontextmanager
async def _waited_for(pool: Pool) -> AsyncIterator[Connection]:
    while True:
        try:
            conn = await pool.getconn()
            break
        except PoolTimeout:
            if not await _answers(pool):
                raise
            if _told.get(pool.name, -BUSY_S) + BUSY_S <= time.monotonic():
                _told[pool.name] = time.monotonic()
                log.info("connections_all_in_use", count=pool.max_size)
    try:
        async with conn:  # a pool's connection is not closed by it
            yield conn
    finally:
        await pool.putconn(conn)


async def _answers(pool: Pool) -> bool:
    """Whether the database answers, on a connection of its own."""
    try:
        conn = await pool.connection_class.connect(str(pool.conninfo), autocommit=True)
    except psycopg.OperationalError as error:
        return any(words in str(error) for words in _FULL)
    await conn.close()
    return True
