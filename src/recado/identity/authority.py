"""Lent authority ends with its source: what somebody made counts only while they might still make it.

An invitation, and later whatever else acts for the person or the key that made it, has a maker: a user, a platform
administrator, an API key, or the command line. A key has one too, and so back to a person. What is made so says who
made it, and three functions here are all that it needs:

- `demand`, in the transaction that makes it, or says who is what: nobody lends what they have no more;
- `stands`, in the transaction that uses it: under locks, so that of a dismissal and a use at once one comes first;
- `withdraw`, in the transaction that dismisses: ends what there is, also for somebody who is made admin again later.
  What is to end then is one more entry in `_LENT`.

Locks are taken in one order everywhere: the owner's admins (`hold_admins`), users, keys by age, then what was lent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from recado.db.pool import Connection
from recado.errors import Forbidden
from recado.identity.callers import Caller

#: What ends when its maker is dismissed or its key is revoked: the table, the columns of its maker and its end, and
#: which rows are still open. Not API keys: a shop's integration outlives who set it up, unless it is asked to end.
_LENT: Final = (("invitations", "invited_by_id", "revoked_at", "accepted_at IS NULL AND revoked_at IS NULL"),)

#: A key's maker may be a key; a chain longer than this is no one's who still has a say.
_DEPTH: Final = 50

#: What the maker and the keys that they made have made, over any number of keys.
_KEYS_OF = """
    WITH RECURSIVE made AS (
        SELECT k.id FROM api_keys k WHERE k.made_by_id = %(maker)s
        UNION
        SELECT k.id FROM api_keys k JOIN made ON k.made_by_id = made.id
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Who made something: `id` is the user's or the key's, and None at the command line and where nobody knows."""

    kind: str | None
    id: UUID | None


def maker(caller: Caller) -> Maker:
    """The maker that a caller is."""
    return Maker(kind=caller.kind, id=caller.id)


async def demand(conn: Connection, caller: Caller, owner_id: UUID | None, *, now: datetime) -> None:
    """Raise Forbidden unless the caller may lend authority over this owner at this moment, and until the commit."""
    if not await stands(conn, maker(caller), owner_id, now=now):
        raise Forbidden(
            "who made this API key is no admin any more, or it has ended: "
            "it makes no keys, invites nobody and changes no user's role or status"
        )


async def stands(conn: Connection, by: Maker, owner_id: UUID | None, *, now: datetime) -> bool:
    """Whether what `by` made for the owner (None: the platform) still counts; they stay what they are until the commit.

    A user has to be an active admin of that owner, an administrator of the platform active, a key unrevoked, not
    expired, with the scope admin, and its own maker must stand. What was made at the command line stands, and so do
    keys from before their maker was written down.
    """
    chain = await _chain(conn, by)
    if chain is None:
        return False
    keys = [link.id for link in chain if link.kind == "key"]
    source = chain[-1]
    if source.kind in ("user", "platform") and not await _person_stands(conn, source, owner_id):
        return False
    cursor = await conn.execute(
        """
        SELECT id FROM api_keys
        WHERE id = ANY(%s) AND owner_id = %s AND 'admin' = ANY(scopes) AND revoked_at IS NULL
          AND (expires_at IS NULL OR expires_at > %s)
        ORDER BY id FOR SHARE
        """,
        [keys, owner_id, now],
    )
    return len(await cursor.fetchall()) == len(keys)


async def _chain(conn: Connection, by: Maker) -> list[Maker] | None:
    """The maker, who made that, and so on to somebody who is no key; None when a key is gone, or there is no end."""
    chain = [by]
    while chain[-1].kind == "key":
        cursor = await conn.execute("SELECT made_by_kind, made_by_id FROM api_keys WHERE id = %s", [chain[-1].id])
        row = await cursor.fetchone()
        if row is None or len(chain) > _DEPTH:
            return None
        chain.append(Maker(kind=row["made_by_kind"], id=row["made_by_id"]))
    return chain


async def _person_stands(conn: Connection, who: Maker, owner_id: UUID | None) -> bool:
    if who.kind == "platform":
        row = await (await conn.execute("SELECT administrator_stands(%s) AS stands", [who.id])).fetchone()
        return row is not None and bool(row["stands"])
    cursor = await conn.execute(
        """
        SELECT FROM users WHERE id = %s AND owner_id = %s AND role = 'admin' AND status = 'active' FOR SHARE
        """,
        [who.id, owner_id],
    )
    return await cursor.fetchone() is not None


async def withdraw(conn: Connection, maker_id: UUID, *, now: datetime) -> int:
    """End what this user or key lent, and what keys that they made lent; answers how many ended.

    For the transaction that dismisses a user or revokes a key, after it has written so.
    """
    ended = 0
    for table, by, end, still_open in _LENT:
        cursor = await conn.execute(
            f"""
            {_KEYS_OF}
            UPDATE {table} SET {end} = %(now)s
            WHERE {still_open} AND ({by} = %(maker)s OR {by} IN (SELECT id FROM made))
            """,  # noqa: S608 - constants
            {"maker": maker_id, "now": now},
        )
        ended += cursor.rowcount
    return ended


async def keys_of(conn: Connection, maker_id: UUID, *, now: datetime) -> list[UUID]:
    """The keys that still work of those that this user or key made, or that such a key made; oldest first."""
    cursor = await conn.execute(
        f"""
        {_KEYS_OF}
        SELECT id FROM api_keys
        WHERE id IN (SELECT id FROM made) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
        ORDER BY id
        """,  # noqa: S608 - constants
        {"maker": maker_id, "now": now},
    )
    return [row["id"] for row in await cursor.fetchall()]


async def owners_of_keys(platform: Connection, maker_id: UUID, *, now: datetime) -> list[UUID]:
    """The owners whose keys `keys_of` names: an administrator of the platform makes keys for many."""
    ids = await keys_of(platform, maker_id, now=now)
    cursor = await platform.execute(
        "SELECT DISTINCT owner_id FROM api_keys WHERE id = ANY(%s) ORDER BY owner_id", [ids]
    )
    return [row["owner_id"] for row in await cursor.fetchall()]


async def hold_admins(conn: Connection, owner_id: UUID | None) -> None:
    """Nobody else dismisses an admin of this owner before the commit.

    It comes before the lock of any user, so that two who dismiss each other at once don't wait for each other.
    """
    if owner_id is not None:
        await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"admins of {owner_id}"])
