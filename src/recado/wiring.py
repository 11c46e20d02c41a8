"""The one composition root: settings become a frozen `Wiring` that entry points hand on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from recado.clock import Clock, SystemClock
from recado.db import pool as db
from recado.db.changes import Changes
from recado.db.pool import Connection, Pool, Role
from recado.db.schema import refuse, standing
from recado.db.secrets import Keyring, load_keyring
from recado.errors import RecadoError, SettingsError
from recado.media import scratch
from recado.media.storage import Storage
from recado.media.stores import open_storage
from recado.settings import Settings
from recado.telemetry import redact

if TYPE_CHECKING:
    from recado.db.embedded import Lease

log = structlog.get_logger(__name__)

#: The logins of the embedded database: what serves one owner at a time, and what goes across owners. Like any others
#: they work under roles that own nothing.
LOGIN, PLATFORM_LOGIN = "recado", "recado_across"
DATABASE = "recado"


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is: for the application, for what goes across owners, and to change its tables.

    The logins are those that a migration gives their roles; None is the one that migrates.
    """

    url: str = field(repr=False)
    platform_url: str = field(repr=False)
    admin_url: str = field(repr=False)
    login: str | None
    platform_login: str | None
    lease: Lease | None


@contextmanager
def database(settings: Settings, *, restoring: bool = False) -> Iterator[Database]:
    """The database of the settings; the embedded one runs as long as this is open.

    The embedded database is brought to the present schema here, an external one only by `recado migrate`. `restoring`
    is for `recado restore`, whose home nothing else may be started from yet.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        platform = settings.platform_url.get_secret_value() if settings.platform_url else url
        admin = settings.migrate_url.get_secret_value() if settings.migrate_url else url
        yield Database(
            url=url,
            platform_url=platform,
            admin_url=admin,
            login=_login(url) if settings.migrate_url else None,
            platform_login=_login(platform) if settings.platform_url else None,
            lease=None,
        )
        return
    from recado.db.embedded import acquire

    with acquire(settings.home, restoring=restoring) as lease:
        passwords = {login: lease.password(login) for login in (LOGIN, PLATFORM_LOGIN)}
        admin_url = lease.url("postgres", lease.password("postgres"), DATABASE)
        _prepare_embedded(lease.admin_url, admin_url, passwords)
        yield Database(
            url=lease.url(LOGIN, passwords[LOGIN], DATABASE),
            platform_url=lease.url(PLATFORM_LOGIN, passwords[PLATFORM_LOGIN], DATABASE),
            admin_url=admin_url,
            login=LOGIN,
            platform_login=PLATFORM_LOGIN,
            lease=lease,
        )


def _login(url: str) -> str | None:
    from psycopg.conninfo import conninfo_to_dict

    return str(conninfo_to_dict(url).get("user") or "") or None


def _prepare_embedded(server_url: str, admin_url: str, passwords: dict[str, str]) -> None:
    """Database, logins and schema of the embedded server; a few milliseconds when all is there."""
    import psycopg
    from psycopg import sql

    from recado.db.schema import RECORDED, recorded, standing_of

    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", [0x7265_6361])
        if conn.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        for login, password in passwords.items():
            if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone() is None:
                conn.execute(
                    sql.SQL("CREATE ROLE {} LOGIN NOINHERIT NOSUPERUSER PASSWORD {}").format(
                        sql.Identifier(login), sql.Literal(password)
                    )
                )
        with psycopg.connect(admin_url, autocommit=True) as there:
            row = there.execute("SELECT to_regclass('recado.schema_revision') IS NOT NULL").fetchone()
            found = there.execute(RECORDED).fetchone() if row and row[0] else None
            schema = standing_of(recorded(found[0]) if found else None)
            dbos = there.execute("SELECT to_regclass('dbos.workflow_status') IS NOT NULL").fetchone()
            # With a newer one this process may yet serve, or says why not; migrating would not help.
            current = schema.state != "behind" and schema.state != "missing" and not schema.outdated
            current = current and dbos is not None and dbos[0]
            # What migrating does last: a start may have been cut short before it.
            whole = current and there.execute(_ENGINES_RIGHTS).fetchone() == (True,)
        if not whole:
            from recado.db.migrate import migrate

            migrate(admin_url, login=LOGIN, platform_login=PLATFORM_LOGIN)


_ENGINES_RIGHTS = "SELECT has_column_privilege('recado_platform', 'dbos.workflow_status', 'status', 'SELECT')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the parts of one process are given."""

    settings: Settings
    database: Database
    keyring: Keyring
    clock: Clock
    pool: Pool
    changes: Changes
    storage: Storage

    async def connect(self, role: Role = "recado_app") -> Connection:
        """A connection of its own, under a role that owns nothing.

        Raises SettingsError when no login was given that may work across owners.
        """
        if role == "recado_app":
            return await db.connect(self.database.url, role)
        try:
            return await db.connect(self.database.platform_url, role)
        except db.PASSING as error:
            if 'permission denied to set role "recado_' in str(error):
                raise SettingsError(
                    f"RECADO_PLATFORM_URL: its login (or that of RECADO_DATABASE_URL, when it is not set) may not work "
                    f"under {role}: set it, and run `recado migrate`"
                ) from None
            raise

    @asynccontextmanager
    async def platform_pool(self, *, size: int = 2, least: int = 1) -> AsyncIterator[Pool]:
        """A pool that sees all owners' rows, for recovery, sign-ins and platform administrators' requests.

        With `least` 0 a process that only takes webhooks connects none of it.
        """
        async with db.open_pool(self.database.platform_url, "recado_platform", size=size, least=least) as pool:
            yield pool


@asynccontextmanager
async def wire(settings: Settings, *, clock: Clock | None = None, connections: int = 16) -> AsyncIterator[Wiring]:
    """A Wiring whose database answers and has a schema that this version works with.

    Raises SchemaError, or RecadoError when the database can't be reached, before anything is served.
    """
    opening = database(settings)
    entering = asyncio.create_task(asyncio.to_thread(opening.__enter__))
    try:
        there = await asyncio.shield(entering)
    except asyncio.CancelledError:
        # The thread goes on: what it opens is given back, or the database would run on without us.
        await asyncio.wait([entering])
        if not entering.exception():
            await asyncio.to_thread(opening.__exit__, None, None, None)
        raise
    try:
        keyring = load_keyring(settings)
        try:
            conn = await db.connect(there.url, "recado_app")
        except db.PASSING as error:
            if 'role "recado_' in str(error):
                refuse("missing")
            raise RecadoError(f"the database of RECADO_DATABASE_URL can't be used: {_reason(error)}") from None
        async with conn:
            found = await standing(conn)
            refuse(found.state)
            if found.state == "ahead" or found.warnings:
                log.warning("schema_of_another", version=found.revision, reason="; ".join(found.warnings))
        async with db.open_pool(there.url, "recado_app", size=connections) as pool:
            storage = open_storage(settings)
            await asyncio.to_thread(scratch.sweep, settings.home)
            keeping = asyncio.create_task(_keep(there), name="embedded-database")
            try:
                yield Wiring(
                    settings=settings,
                    database=there,
                    keyring=keyring,
                    clock=clock or SystemClock(),
                    pool=pool,
                    changes=Changes(lambda: db.connect(there.url, "recado_app")),
                    storage=storage,
                )
            finally:
                keeping.cancel()
                await storage.aclose()
    finally:
        await asyncio.to_thread(opening.__exit__, None, None, None)


async def _keep(there: Database) -> None:
    while there.lease is not None:
        await asyncio.sleep(1.0)
        try:
            await asyncio.to_thread(there.lease.ensure)
        except (OSError, RecadoError) as error:
            log.warning("embedded_database_down", error=type(error).__name__)


def _reason(error: Exception) -> str:
    """Why, in the server's words or libpq's, without what libpq quotes: of a mistyped URL that may be a password."""
    text = str(error).strip().splitlines()[-1][:2_000]
    _, fatal, said = text.rpartition("FATAL:")
    return (said.strip() if fatal else redact(re.sub(r'"[^"]*"', '"..."', text)))[:200]
