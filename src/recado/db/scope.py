"""The one door to an owner's rows: a connection in a transaction, and whose rows it may see.

PostgreSQL's row-level security stands behind it: the transaction names the owner, and the application's role sees
and writes that owner's rows only. The transaction commits when the scope is left without an error.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from recado.db.pool import Connection, Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class Scope:
    """A transaction that sees one owner's rows."""

    conn: Connection
    owner_id: UUID


@asynccontextmanager
async def scoped(pool: Pool, owner_id: UUID) -> AsyncIterator[Scope]:
    """Open a transaction for one owner; commit at the end, roll back on an error."""
    async with pool.connection() as conn:
        await conn.execute("SELECT set_config('recado.owner_id', %s, true)", [str(owner_id)])
        yield Scope(conn, owner_id)
