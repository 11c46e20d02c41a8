"""Does this version work with the database's schema? Cheap enough to ask at every start and in `/readyz`.

A schema says from which revision on code works with it (`compatible_from`): a version serves when that is not beyond
its own, and the schema not older than it needs. So a newer `recado migrate` stops nobody who runs, and the version
before can be started again; a migration that ends that says so (`docs/how-to/upgrade.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from recado.db.functions import foreign, outdated
from recado.db.pool import Connection
from recado.errors import SchemaError

#: The newest revision in `migrations/versions`; a test compares the two.
HEAD: Final = "0043"
#: The oldest schema that this code works with. A version that can be deployed before its own migration names an older.
NEEDS: Final = HEAD
#: The oldest that there is a way from, and the commit of the sources that brings an older database to it.
BASELINE, BEFORE_BASELINE = "0034", "4ed0ee2"
#: `ahead`: a newer recado's, with which this one works; `newer`: one with which it does not.
State = Literal["current", "ahead", "missing", "behind", "newer"]
#: Those with which this version serves.
SERVED: Final = ("current", "ahead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a database says of its schema: revision, whose code works with it, digests of its functions, and the recado
    that migrated it last.
    """

    version: str
    compatible_from: str
    functions: Mapping[str, str]
    recado: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a database's schema stands to this code."""

    state: State
    revision: str = "none"
    recado: str = "none"
    #: Functions that are not as this code has them, which stops nothing: those that `recado migrate` would replace, and
    #: those of another recado, which it leaves.
    outdated: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether this version works with it."""
        return self.state in SERVED

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not as it should be, although this version serves."""
        said = {"functions behind": self.outdated, "functions of another recado": self.foreign}
        return tuple(f"{what}: {', '.join(names)}" for what, names in said.items() if names and self.serves)


#: Asks for it whichever revision the table is of.
RECORDED = "SELECT to_jsonb(v) AS recorded FROM recado.schema_revision v"
#: And that of a database from before 0037.
RECORDED_BEFORE = "SELECT to_jsonb(v) AS recorded FROM recado.schema_version v"


def recorded(row: Mapping[str, Any]) -> Recorded:
    """`RECORDED`'s answer, read."""
    version = row["version_num"]
    return Recorded(
        version=version,
        compatible_from=row.get("compatible_from") or version,
        functions=row.get("functions") or {},
        recado=row.get("recado") or "unknown",
    )


def compare(found: Recorded | None) -> State:
    """What it means to this code; revisions are numbered in order."""
    if found is None:
        return "missing"
    if found.version < NEEDS:
        return "behind"
    if found.version <= HEAD:
        return "current"
    return "ahead" if found.compatible_from <= HEAD else "newer"


def standing_of(found: Recorded | None) -> Standing:
    """How what a database says of itself stands to this code; of functions a newer schema has its own."""
    if found is None:
        return Standing(state="missing")
    state = compare(found)
    told = found.functions if state == "current" else {}
    return Standing(
        state=state,
        revision=found.version,
        recado=found.recado,
        outdated=tuple(outdated(told)) if state == "current" else (),
        foreign=tuple(foreign(told)),
    )


async def standing(conn: Connection) -> Standing:
    """How the schema that `conn` sees stands to this code."""
    row = await (
        await conn.execute(
            "SELECT to_regclass('recado.schema_revision') IS NOT NULL AS there, "
            "to_regclass('recado.schema_version') IS NOT NULL AS before"
        )
    ).fetchone()
    if row is None or not row["there"]:
        return Standing(state="behind" if row is not None and row["before"] else "missing")
    found = await (await conn.execute(RECORDED)).fetchone()
    return standing_of(recorded(found["recorded"]) if found else None)


async def state(conn: Connection) -> State:
    """The state of the schema that `conn` sees."""
    return (await standing(conn)).state


def refuse(found: State) -> None:
    """Raise SchemaError, saying what to do, unless this version serves with the schema."""
    if found == "newer":
        raise SchemaError(
            "the database was migrated by a newer recado, with which this version does not work: install that "
            "version, or restore its backup"
        )
    if found not in SERVED:
        raise SchemaError(f"the database's schema is {found}: run `recado migrate`")
