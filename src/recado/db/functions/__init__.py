"""The rules that live in the database, a file each: what stands here is what a migrated database has.

A file is plain SQL: what the function promises, under which role it works where that is not its caller's (`SET LOCAL
ROLE`), the function, and who may call it where that is not everybody. A rule is changed by changing its file, and
`recado migrate` applies it. Which versions of each file there were is in `known.txt` (`make schema` adds to it): only
what is known to be older is replaced, so two checkouts don't put each other's functions back, and a recado that is
older than the database's leaves them.

Processes of the release before call these functions while they are replaced: arguments and result stay as they are,
and what is changed gets a new name (`docs/how-to/upgrade.md`). Bodies in `BEGIN ATOMIC` name tables, not functions
of ours, because files are applied in no order.
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
_KNOWN = "# The digests that each function's file has had, the oldest first. Made by `make schema`: don't edit."


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


@cache
def known() -> Mapping[str, tuple[str, ...]]:
    """By function, the digests that its file has had, the oldest first."""
    lines = (_FOLDER / "known.txt").read_text(encoding="utf-8").splitlines()
    return MappingProxyType({name: tuple(had) for name, *had in (line.split() for line in lines if line[:1] != "#")})


def outdated(recorded: Mapping[str, str]) -> list[str]:
    """The functions that a database with these digests does not have, or as an older file had them."""
    return [
        name
        for name, digest in digests().items()
        if recorded.get(name) != digest and (name not in recorded or recorded[name] in known().get(name, ()))
    ]


def foreign(recorded: Mapping[str, str]) -> list[str]:
    """The functions that a database with these digests has as no file here ever had them: another recado's."""
    return [
        name
        for name, digest in digests().items()
        if name in recorded and recorded[name] != digest and recorded[name] not in known().get(name, ())
    ]


def write_known() -> None:
    """Add the files' present digests to `known.txt`; what is there stays, and functions that are gone do too."""
    had = dict(known())
    for name, digest in digests().items():
        if digest not in had.get(name, ())[-1:]:
            had[name] = (*had.get(name, ()), digest)
    lines = [_KNOWN, *(" ".join((name, *had[name])) for name in sorted(had))]
    (_FOLDER / "known.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _names() -> list[str]:
    return sorted(file.stem for file in _FOLDER.glob("*.sql"))


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
