"""Connections: which role they work under, and what happens when PostgreSQL goes away for a while.

A connection of the product works under one of three roles that own no table and can't bypass row-level security:
`recado_app` sees the rows of the owner that the transaction names, `recado_platform` is for the few jobs that go across
owners (recovery, retention, `recado doctor`, the command line), and `recado_engine` is the workflow engine's. The first
has a login of its own beside that of the others (`RECADO_PLATFORM_URL`): a role is a setting that any statement may
change to another of its login's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import psycopg
import structlog
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger(__name__)

Role = Literal["recado_app", "recado_platform", "recado_engine"]
Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]
Pool = AsyncConnectionPool[Connection]
T = TypeVar("T")

#: How often it is logged that a pool's connections are all in use.
_BUSY_S: Final = 60.0

#: What a broken connection, a restart, a deadlock or an exhausted pool raise: the same transaction may be tried again.
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)


def conninfo(url: str, role: Role) -> str:
    """The URL with the settings that every connection of the product has."""
    options = f"-c role={role} -c search_path=recado -c timezone=UTC -c plan_cache_mode=force_generic_plan"
    return make_conninfo(
        url,
        options=options,
        application_name="recado",
        connect_timeout=5,
        keepalives_idle=15,
        keepalives_interval=5,
        keepalives_count=3,
    )


@asynccontextmanager
async def open_pool(url: str, role: Role, *, size: int, least: int = 1) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections under `role`; it opens without waiting for the database.

    With `least` 0 it connects when it is first needed, and lets go of connections that are not.
    """
    pool: Pool = AsyncConnectionPool(
        conninfo(url, role),
        connection_class=psycopg.AsyncConnection,
        kwargs={"row_factory": dict_row, "autocommit": True},
        min_size=least,
        max_size=size,
        timeout=3,  # a webhook's caller waits this long at most to hear 503
        max_idle=120,
        # Attempts back off by doubling; given up soon, the next request begins afresh and finds the database at once.
        reconnect_timeout=3,
        open=False,
        name=role,
    )
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close(timeout=2)


async def connect(url: str, role: Role) -> Connection:
    """One connection of its own, in autocommit, for what a pool is wrong for: a session's lock, a lane."""
    return await psycopg.AsyncConnection.connect(conninfo(url, role), autocommit=True, row_factory=dict_row)


async def once_more(pool: Pool, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, and once more with fresh connections when the first try met one that was broken.

    After a restart of the database every idle connection is broken, and a caller would hear of it one by one.
    """
    try:
        return await work()
    except PASSING:
        await pool.check()
        return await work()


async def persistently(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` until the database has answered it; for workflows, which wait out a restart rather than fail.

    `work` is one transaction that may run again when its commit's outcome was lost, so it must be idempotent.
    """
    pause_s = 0.05
    while True:
        try:
            return await work()
        except PASSING as error:
            log.warning("database_unavailable", error=type(error).__name__, retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)
