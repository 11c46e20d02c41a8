"""Owners: the companies whose numbers and assistants these are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from psycopg.errors import UniqueViolation

from recado.db.pool import Connection, Row
from recado.errors import Conflict, NotFound, UsageError
from recado.ids import new_id
from recado.text import is_blank, storable

NAME_CHARS: Final = 200
_COLUMNS = "id, name, status, (SELECT p.name FROM plans p WHERE p.id = owners.plan_id) AS plan, version, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A tenant; a suspended one's messages are accepted and kept, not answered. `plan` is its plan's name.

    `version` grows with every change of its name, status and plan.
    """

    id: UUID
    name: str
    status: str
    plan: str | None
    version: int
    created_at: datetime


def normal_name(name: str) -> str:
    """An owner's name on one line. Raises UsageError for an empty or overlong one."""
    name = " ".join(storable(name).split())
    if is_blank(name) or len(name) > NAME_CHARS:
        raise UsageError(f"an owner's name has 1 to {NAME_CHARS} characters")
    return name


async def put(platform: Connection, name: str) -> tuple[Owner, bool]:
    """The owner of that name, made if there is none, and whether it was made. Raises UsageError for the name."""
    name = normal_name(name)
    while True:
        made = await (
            await platform.execute(
                f"""
                INSERT INTO owners (id, name) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}
                """,  # noqa: S608 - a constant
                [new_id(), name],
            )
        ).fetchone()
        if made is not None:
            return Owner(**made), True
        found = await (
            await platform.execute(f"SELECT {_COLUMNS} FROM owners WHERE name = %s", [name])  # noqa: S608 - a constant
        ).fetchone()
        if found is not None:  # else it got another name between our two questions
            return Owner(**found), False


async def add(platform: Connection, name: str) -> Owner:
    """The owner of that name, made if there is none. Raises UsageError for an empty or overlong name."""
    owner, _ = await put(platform, name)
    return owner


async def get(conn: Connection, owner_id: UUID, *, lock: bool = False) -> Owner:
    """The owner; with `lock`, nobody else changes it before the commit. Raises NotFound."""
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM owners WHERE id = %s"  # noqa: S608 - the columns are a constant
        + (" FOR NO KEY UPDATE" if lock else ""),
        [owner_id],
    )
    return _found(await cursor.fetchone(), owner_id)


async def set_status(platform: Connection, owner_id: UUID, status: Literal["active", "suspended"]) -> Owner:
    """Suspend an owner or let them go on; turns look at it in the database, caches follow in a minute.

    While suspended, messages are accepted and held; once active again, those of the last 24 hours are answered.
    Raises NotFound.
    """
    row = await (
        await platform.execute(
            f"UPDATE owners SET status = %s WHERE id = %s RETURNING {_COLUMNS}",  # noqa: S608 - a constant
            [status, owner_id],
        )
    ).fetchone()
    return _found(row, owner_id)


async def rename(platform: Connection, owner_id: UUID, name: str) -> Owner:
    """Give an owner another name, which the platform alone may: by its name an owner is found again.

    Raises NotFound, UsageError; Conflict, which ends the transaction, if it is taken.
    """
    try:
        cursor = await platform.execute(
            f"UPDATE owners SET name = %s WHERE id = %s RETURNING {_COLUMNS}",  # noqa: S608 - a constant
            [normal_name(name), owner_id],
        )
    except UniqueViolation:
        raise Conflict("this name can't be used: another owner has it") from None
    return _found(await cursor.fetchone(), owner_id)


async def all_of_them(platform: Connection) -> list[Owner]:
    """Every owner, oldest first."""
    cursor = await platform.execute(f"SELECT {_COLUMNS} FROM owners ORDER BY id")  # noqa: S608 - a constant
    return [Owner(**row) for row in await cursor.fetchall()]


async def page(platform: Connection, *, after: UUID | None, limit: int) -> list[Owner]:
    """Owners after that id, oldest first: at most `limit`, and one more where there is a next page."""
    cursor = await platform.execute(
        f"SELECT {_COLUMNS} FROM owners WHERE %(after)s::uuid IS NULL OR id > %(after)s ORDER BY id LIMIT %(most)s",  # noqa: S608
        {"after": after, "most": limit + 1},
    )
    return [Owner(**row) for row in await cursor.fetchall()]


def _found(row: Row | None, owner_id: UUID) -> Owner:
    if row is None:
        raise NotFound(f"no owner {owner_id}: see `recado owners list`")
    return Owner(**row)
