"""Who did what to which thing: append-only, written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.identity.callers import Caller

_COLUMNS = "id, owner_id, at, caller_kind, caller_id, caller_name, action, thing, thing_id, data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that somebody did; `data` holds no secret and nothing that a contact wrote."""

    id: int
    owner_id: UUID | None
    at: datetime
    caller_kind: str
    caller_id: UUID | None
    caller_name: str
    action: str
    thing: str
    thing_id: str | None
    data: dict[str, Any] | None


async def record(
    where: Connection | Scope,
    caller: Caller,
    action: str,
    thing: str,
    thing_id: str | None,
    data: Mapping[str, Any] | None = None,
    *,
    owner_id: UUID | None = None,
) -> None:
    """Write down that `caller` did `action` (a verb: add, revoke) to `thing` (a noun of the glossary).

    Call it with the scope, or the connection and its transaction, that makes the change: both are kept, or neither.
    With a scope the entry is that owner's; with a platform connection `owner_id` says whose, None the platform's.
    """
    conn, whose = (where.conn, where.owner_id) if isinstance(where, Scope) else (where, owner_id)
    await conn.execute(
        """
        INSERT INTO audit (owner_id, caller_kind, caller_id, caller_name, action, thing, thing_id, data)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            *(whose, caller.kind, caller.id, caller.name, action, thing, thing_id),
            Jsonb(dict(data)) if data is not None else None,
        ],
    )


async def entries(
    where: Connection | Scope, *, owner_id: UUID | None = None, before: int | None = None, limit: int = 100
) -> list[Entry]:
    """The newest entries, newest first: a scope's owner's; of a platform connection all, or one owner's.

    `before` is the id of the last entry of the page before.
    """
    conn, whose = (where.conn, where.owner_id) if isinstance(where, Scope) else (where, owner_id)
    cursor = await conn.execute(
        f"""
        SELECT {_COLUMNS} FROM audit
        WHERE (%(owner)s::uuid IS NULL OR owner_id = %(owner)s) AND (%(before)s::bigint IS NULL OR id < %(before)s)
        ORDER BY id DESC LIMIT %(limit)s
        """,  # noqa: S608 - the columns are a constant
        {"owner": whose, "before": before, "limit": limit},
    )
    return [Entry(**row) for row in await cursor.fetchall()]
