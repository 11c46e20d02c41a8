"""Connections: which role they work under, and what happens when PostgreSQL goes away for a while.

A connection of the product works under one of three roles that own no table and can't bypass row-level security:
`recado_app` sees the rows of the owner that the transaction names, `recado_platform` is for the few jobs that go across
owners (recovery, retention, `recado doctor`, the command line), and `recado_engine` is the workflow engine's. The first
has a login of its own beside that of the others (`RECADO_PLATFORM_URL`): a role is a setting that any statement may
change to another of its login's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import psycopg
import structlog
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from recado.db.adapt import ADAPTERS
from recado.db.patience import PATIENCE_S, PatientConnection, connect_thread
from recado.errors import TooMuch
from recado.metrics.process import Filled, watch_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import sqlalchemy as sa

log = structlog.get_logger(__name__)

Role = Literal["recado_app", "recado_platform", "recado_engine"]
Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]
Pool = AsyncConnectionPool[Connection]
T = TypeVar("T")

#: A connection of the engine's that was lent longer ago is asked first whether it is still there.
FRESH_S: Final = 1.0

#: What a broken connection, a restart, a deadlock, an exhausted pool or a transaction that lay idle for too long raise:
#: the same transaction may be tried again.
PASSING = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
)
#: The class of SQLSTATE among them that says something else: a limit of the server is passed, the next time too.
LIMITS = "54"


#: How long a peer may be silent, on either side of every connection: the kernels ask after 15 s whether it is there,
#: and say after 30 s that it is not; what was sent may wait 20 s for its receipt. Over a socket they mean nothing.
KEEPALIVE = {"keepalives": 1, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
TCP_USER_TIMEOUT_MS = 20_000
#: The same for the server, whose own defaults keep a vanished host's session, its locks with it, for two hours; a
#: transaction that nobody goes on with ends too, as soon as its executor counts as dead (`ops/executors`), and so does
#: the statement of a client that is gone.
SERVER_KEEPALIVE = (
    "-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 "
    f"-c tcp_user_timeout={TCP_USER_TIMEOUT_MS} "
    "-c idle_in_transaction_session_timeout=20000 -c client_connection_check_interval=2000"
)


#: A statement's plan is made once and kept, perhaps while its tables were empty or nearly so: reading all of them was
#: cheapest then, and costs more with every row until PostgreSQL next counts them. Wherever an index serves it is taken.
#: Where none does, PostgreSQL before 18 calls the statement dear and would compile it each time.
BY_INDEX = "-c enable_seqscan=off -c jit=off"
#: And in a table that was counted as empty one index is as good as another: see `renew_plans`.
FIRST_PLANS = 16
#: For connections that look up single rows by their keys and nothing else: in the index's order, never sorted.
BY_KEY = "SET enable_bitmapscan = off;"


def conninfo(url: str, role: Role) -> str:
    """The URL with the settings that every connection of the product has."""
    options = f"-c role={role} -c search_path=recado -c timezone=UTC -c plan_cache_mode=force_generic_plan {BY_INDEX}"
    return make_conninfo(url, application_name="recado", **guarded(options))


def guarded(options: str = "") -> dict[str, Any]:
    """Parameters of a connection whose peer is not waited for without end, with other server options."""
    return {
        "options": f"{options} {SERVER_KEEPALIVE}".strip(),
        "connect_timeout": 5,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
        **KEEPALIVE,
    }


async def renew_plans(conn: Connection) -> None:
    """Count a use of the connection; after 16, 32, 64 ... of them, have its plans made anew when they are next needed.

    So a plan was made when the tables had half as many rows at least, as far as this connection's own work goes, and
    that costs less and less. Where others fill them, PostgreSQL counts anew within a minute or so.
    """
    if isinstance(conn, PatientConnection):
        conn.uses += 1
        if conn.uses >= FIRST_PLANS << conn.renewals:
            conn.renewals += 1
            await conn.execute("DISCARD PLANS", prepare=False)


@asynccontextmanager
async def open_pool(url: str, role: Role, *, size: int, least: int = 1) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections under `role`; it opens without waiting for the database.

    With `least` 0 it connects when it is first needed, and lets go of connections that are not.
    """
    pool: Pool = AsyncConnectionPool(
        conninfo(url, role),
        connection_class=PatientConnection[Row],
        kwargs={"row_factory": dict_row, "autocommit": True, "context": ADAPTERS},
        check=renew_plans,
        min_size=least,
        max_size=size,
        timeout=3,  # a webhook's caller waits this long at most to hear 503
        max_idle=120,
        # Attempts back off by doubling; given up soon, the next request begins afresh and finds the database at once.
        reconnect_timeout=3,
        open=False,
        name=role,
    )
    watch_pool(pool, "app" if role == "recado_app" else "platform", _filled)
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        # Its workers end at once, but for one that connects to a server which does not answer: that one is left.
        await pool.close(timeout=0.7)


def _filled(pool: Pool) -> Filled:
    stats = pool.get_stats()
    idle = stats["pool_available"]
    return Filled(
        used=max(0, stats["pool_size"] - idle),
        idle=idle,
        waiting=stats.get("requests_waiting", 0),
        waited_s=stats.get("requests_wait_ms", 0) / 1000,
    )


async def connect(url: str, role: Role, *, patience_s: float = PATIENCE_S) -> Connection:
    """One connection of its own, in autocommit, for what a pool is wrong for: a session's lock, a lane.

    Its answers are waited for `patience_s` at most, then it is closed and `Silent` raised.
    """
    conn = await PatientConnection.connect(conninfo(url, role), autocommit=True, row_factory=dict_row, context=ADAPTERS)
    conn.patience_s = patience_s
    return conn


def engine(url: str, *, size: int) -> sa.Engine:
    """The workflow engine's pool of connections, for its threads, under its role."""
    import sqlalchemy as sa

    # What it asks is the same again and again: planning it anew costs more than the better plan would save. The
    # connection used last is used next, so that few of them know all of its statements.
    arguments = {
        "application_name": "recado dbos",
        **guarded(f"-c role=recado_engine -c plan_cache_mode=force_generic_plan {BY_INDEX}"),
    }
    made = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg"),
        connect_args=arguments,
        pool_size=size,
        max_overflow=0,
        pool_timeout=30,
        pool_use_lifo=True,
    )

    watch_pool(made, "engine", _engine_filled)

    @sa.event.listens_for(made, "checkout")
    def checkout(connection: Any, record: Any, _proxy: Any) -> None:
        now = time.monotonic()
        # One used a moment ago is there; another may be of before a restart of the server.
        if now - record.info.get("asked_at", now) > FRESH_S:
            try:
                made.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise sa.exc.DisconnectionError from error
        record.info["asked_at"] = now
        uses = record.info["uses"] = record.info.get("uses", 0) + 1
        renewals = record.info.get("renewals", 0)
        if uses >= FIRST_PLANS << renewals:  # as `renew_plans`
            record.info["renewals"] = renewals + 1
            connection.execute("DISCARD PLANS", prepare=False)
            connection.commit()

    @sa.event.listens_for(made, "do_connect")
    def do_connect(_dialect: Any, _record: Any, given: Any, options: dict[str, Any]) -> Any:
        return connect_thread(*given, **options)

    return made


def _engine_filled(engine: sa.Engine) -> Filled:
    pool: Any = engine.pool
    return Filled(used=pool.checkedout(), idle=pool.checkedin())


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

    `work` is one transaction that may run again when its commit's outcome was lost, so it must be idempotent. Raises
    TooMuch for what no repetition makes smaller.
    """
    pause_s = 0.05
    while True:
        try:
            return await work()
        except PASSING as error:
            if isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(LIMITS):
                raise TooMuch(f"the database refuses it: {type(error).__name__}") from None
            log.warning("database_unavailable", error=type(error).__name__, retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)
