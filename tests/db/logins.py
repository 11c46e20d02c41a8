"""Databases with the product's own logins, as they are set up for production and at home."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from recado.db.embedded import Lease, wait_until_stopped
from recado.db.migrate import ACROSS, APP, migrate
from recado.settings import Settings
from recado.wiring import database
from tests.conftest import SECRET_KEYS


@contextmanager
def external(cluster: Lease) -> Iterator[Settings]:
    """An empty database and three logins, made as `docs/how-to/run-in-production.md` says; not migrated yet.

    The cluster must have the roles, as it has once the fixture `template` was made.
    """
    mark = uuid4().hex[:8]
    name, (owner, app, platform) = f"t_{mark}", (f"{word}_{mark}" for word in ("owner", "login", "platform"))
    with psycopg.connect(cluster.admin_url, autocommit=True) as admin:

        def run(statement: str, *names: str) -> None:
            admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]

        run("CREATE ROLE {} LOGIN CREATEROLE PASSWORD 'x'", owner)
        for login in (app, platform):
            run("CREATE ROLE {} LOGIN NOINHERIT PASSWORD 'x'", login)
        for role in (APP, *ACROSS):
            # Another database of this cluster has made the roles: in one of its own the owner makes them.
            run("GRANT {} TO {} WITH ADMIN OPTION", role, owner)
        run("CREATE DATABASE {} OWNER {}", name, owner)
        try:
            yield Settings(
                database_url=cluster.url(app, "x", name),
                platform_url=cluster.url(platform, "x", name),
                migrate_url=cluster.url(owner, "x", name),
                secret_keys=SECRET_KEYS,
                _env_file=None,
            )
        finally:
            run("DROP DATABASE {} WITH (FORCE)", name)
            for role in (app, platform, owner):
                run("DROP OWNED BY {} CASCADE", role)
                run("DROP ROLE {}", role)


def migrated(settings: Settings) -> None:
    """What `recado migrate` does."""
    with database(settings) as there:
        migrate(there.admin_url, login=there.login, platform_login=there.platform_login)


@contextmanager
def at_home() -> Iterator[Settings]:
    """A new home; not below pytest's own folder, which every run of pytest closes to PostgreSQL's user."""
    folder = Path(tempfile.mkdtemp(prefix="recado-home-"))
    try:
        yield Settings(home=folder, _env_file=None)
    finally:
        wait_until_stopped(folder)
        shutil.rmtree(folder, ignore_errors=True)
