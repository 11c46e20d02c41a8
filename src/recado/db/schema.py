"""Is the database's schema the one this version works with? Cheap enough to ask at every start and in `/readyz`."""

from __future__ import annotations

from typing import Literal

from recado.db.pool import Connection
from recado.errors import SchemaError

#: The newest revision in `migrations/versions`; a test compares the two.
HEAD = "0034"
State = Literal["current", "missing", "behind", "newer"]


def compare(version: str | None) -> State:
    """What a recorded version means to this code; revisions are numbered in order."""
    if version is None:
        return "missing"
    if version == HEAD:
        return "current"
    return "behind" if version < HEAD else "newer"


async def state(conn: Connection) -> State:
    """The state of the schema that `conn` sees."""
    row = await (await conn.execute("SELECT to_regclass('recado.schema_version') IS NOT NULL AS there")).fetchone()
    if row is None or not row["there"]:
        return "missing"
    found = await (await conn.execute("SELECT version_num FROM recado.schema_version")).fetchone()
    return compare(found["version_num"] if found else None)


def refuse(found: State) -> None:
    """Raise SchemaError, saying what to do, unless the schema is current."""
    if found == "newer":
        raise SchemaError("the database was migrated by a newer recado: install that version, or restore its backup")
    if found != "current":
        raise SchemaError(f"the database's schema is {found}: run `recado migrate`")
