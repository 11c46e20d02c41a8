"""Owners: the companies whose numbers and assistants these are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from recado.db.pool import Connection
from recado.errors import NotFound, UsageError
from recado.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A tenant; a suspended one's messages are accepted and kept, not answered."""

    id: UUID
    name: str
    status: str
    created_at: datetime


async def add(platform: Connection, name: str) -> Owner:
    """The owner of that name, made if there is none. Raises UsageError for an empty or overlong name."""
    name = " ".join(name.split())
    if not name or len(name) > 200:
        raise UsageError("an owner's name has 1 to 200 characters")
    row = await (
        await platform.execute(
            """
            WITH made AS (
                INSERT INTO owners (id, name) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING
                RETURNING id, name, status, created_at
            )
            SELECT * FROM made
            UNION ALL SELECT id, name, status, created_at FROM owners WHERE name = %s
            LIMIT 1
            """,
            [new_id(), name, name],
        )
    ).fetchone()
    if row is None:  # made by another process while our statement ran
        return await add(platform, name)
    return Owner(**row)


async def get(platform: Connection, owner_id: UUID) -> Owner:
    """The owner. Raises NotFound."""
    row = await (
        await platform.execute("SELECT id, name, status, created_at FROM owners WHERE id = %s", [owner_id])
    ).fetchone()
    if row is None:
        raise NotFound(f"no owner {owner_id}: see `recado owners list`")
    return Owner(**row)


async def set_status(platform: Connection, owner_id: UUID, status: Literal["active", "suspended"]) -> Owner:
    """Suspend an owner or let them go on; turns look at it in the database, caches follow in a minute.

    While suspended, messages are accepted and held; once active again, `recado failed retry` has them answered.
    Raises NotFound.
    """
    row = await (
        await platform.execute(
            "UPDATE owners SET status = %s WHERE id = %s RETURNING id, name, status, created_at", [status, owner_id]
        )
    ).fetchone()
    if row is None:
        raise NotFound(f"no owner {owner_id}: see `recado owners list`")
    return Owner(**row)


async def all_of_them(platform: Connection) -> list[Owner]:
    """Every owner, oldest first."""
    cursor = await platform.execute("SELECT id, name, status, created_at FROM owners ORDER BY id")
    return [Owner(**row) for row in await cursor.fetchall()]
