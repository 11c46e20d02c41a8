"""The one door to an owner's rows: a connection in a transaction, and whose rows it may see.

PostgreSQL's row-level security stands behind it: the transaction names the owner, and the application's role sees
and writes that owner's rows only. The transaction commits when the scope is left without an error.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from psycopg import sql

from recado.db.borrowing import borrowed
from recado.db.pool import PASSING, Connection, Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass(frozen=True, slots=True)
class Scope:
    """A transaction that sees one owner's rows; `once_committed` is called in order when `scoped` has committed it.

    What is in it must not raise: everybody who waits for the transaction would take it for undone.
    """

    conn: Connection
    owner_id: UUID
    once_committed: list[Callable[[], None]] = field(default_factory=list, compare=False, repr=False)


@asynccontextmanager
async def scoped(pool: Pool, owner_id: UUID) -> AsyncIterator[Scope]:
    """Open a transaction for one owner; commit at the end, roll back on an error."""
    async with borrowed(pool) as conn:
        # One round trip where psycopg's own transaction and a query for the setting would be two.
        await conn.execute(
            sql.SQL("BEGIN; SET LOCAL recado.owner_id = {}").format(sql.Literal(str(owner_id))), prepare=False
        )
        try:
            scope = Scope(conn, owner_id)
            yield scope
        except BaseException:
            with suppress(*PASSING):
                await conn.execute("ROLLBACK")
            raise
        ended = await conn.execute("COMMIT")
        if ended.statusmessage == "COMMIT":  # of what an error broke that somebody caught it is a rollback
            for call in scope.once_committed:
                call()
