"""Is the database's schema the one this version works with? Cheap enough to ask at every start and in `/readyz`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recado import __version__
from recado.db.functions import digests
from recado.db.pool import Connection
from recado.errors import SchemaError

#: The newest revision in `migrations/versions`; a test compares the two.
HEAD = "0041"
#: The oldest that there is a way from, and the commit of the sources that brings an older database to it.
BASELINE, BEFORE_BASELINE = "0034", "4ed0ee2"
State = Literal["current", "missing", "behind", "newer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a database says of its schema: revision, digests of its functions, and the recado that put them there."""

    version: str
    functions: Mapping[str, str]
    recado: str


#: Asks for it whichever revision the table is of.
RECORDED = "SELECT to_jsonb(v) AS recorded FROM recado.schema_version v"


def recorded(row: Mapping[str, Any]) -> Recorded:
    """`RECORDED`'s answer, read."""
    return Recorded(version=row["version_num"], functions=row.get("functions") or {}, recado=row.get("recado") or "0")


def compare(found: Recorded | None) -> State:
    """What it means to this code; revisions are numbered in order, and so are the versions of recado.

    Of functions that differ the database has the newer ones when a newer recado put them there.
    """
    if found is None:
        return "missing"
    if found.version != HEAD:
        return "behind" if found.version < HEAD else "newer"
    if dict(found.functions) == dict(digests()):
        return "current"
    return "newer" if _order(found.recado) > _order(__version__) else "behind"


def _order(version: str) -> list[int]:
    return [int("0" + "".join(filter(str.isdigit, part))) for part in version.split(".")]


async def state(conn: Connection) -> State:
    """The state of the schema that `conn` sees."""
    row = await (await conn.execute("SELECT to_regclass('recado.schema_version') IS NOT NULL AS there")).fetchone()
    if row is None or not row["there"]:
        return "missing"
    found = await (await conn.execute(RECORDED)).fetchone()
    return compare(recorded(found["recorded"]) if found else None)


def refuse(found: State) -> None:
    """Raise SchemaError, saying what to do, unless the schema is current."""
    if found == "newer":
        raise SchemaError("the database was migrated by a newer recado: install that version, or restore its backup")
    if found != "current":
        raise SchemaError(f"the database's schema is {found}: run `recado migrate`")
