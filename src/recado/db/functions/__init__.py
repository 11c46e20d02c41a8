"""The rules that live in the database, a file each: what stands here is what a migrated database has.

A file is plain SQL: what the function promises, under which role it works where that is not its caller's (`SET LOCAL
ROLE`), the function, and who may call it where that is not everybody. `recado migrate` applies the files that are not
as the database has them; a rule is changed by changing its file. A change of arguments or result needs a migration
that drops the function before, and so does a file that goes. Bodies in `BEGIN ATOMIC` name tables, not functions of
ours, because files are applied in no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

_FOLDER = Path(__file__).parent


@cache
def digests() -> Mapping[str, str]:
    """By function, a digest of its file: what a database is held to."""
    return MappingProxyType({name: sha256(_text(name).encode()).hexdigest()[:16] for name in _names()})


def put(conn: sa.Connection, names: Iterable[str]) -> None:
    """Make these functions, or replace them by what their files say, within the transaction.

    A migration calls it for what its triggers, defaults, constraints or indexes need.
    """
    psycopg = conn.connection.driver_connection
    assert psycopg is not None  # noqa: S101 - the connection is open
    # Who replaces a function must be its owner, and needs the schema for as long.
    psycopg.execute("GRANT USAGE, CREATE ON SCHEMA recado TO recado_platform, recado_engine")
    psycopg.execute("SET LOCAL check_function_bodies = off")
    for name in names:
        psycopg.execute(_text(name))
        psycopg.execute("RESET ROLE")
    psycopg.execute("SET LOCAL check_function_bodies = on")
    psycopg.execute("REVOKE CREATE ON SCHEMA recado FROM recado_platform, recado_engine")
    psycopg.execute("REVOKE USAGE ON SCHEMA recado FROM recado_engine")


def changed(recorded: Mapping[str, str]) -> list[str]:
    """The functions that a database with these digests has otherwise, or not at all."""
    return [name for name, digest in digests().items() if recorded.get(name) != digest]


def _names() -> list[str]:
    return sorted(file.stem for file in _FOLDER.glob("*.sql"))


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
