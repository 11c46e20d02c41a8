"""Re-encryption of stored secrets under the first key, while everything runs; and which keys are still needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql

from recado.db.pool import Connection
from recado.db.secrets import SEALED, Keyring, key_id
from recado.errors import Conflict, SecretError

BATCH = 100
#: Any number that nothing else in the database locks.
LOCK = 7_264_001


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A key by its id: its place in RECADO_SECRET_KEYS (None: it is missing there), and how many secrets need it."""

    key_id: str
    place: int | None
    secrets: int

    @property
    def removable(self) -> bool:
        """Whether the key may be taken out of RECADO_SECRET_KEYS."""
        return self.place is not None and self.place > 1 and self.secrets == 0

    @property
    def waiting(self) -> int:
        """How many secrets a rotation would seal again."""
        return 0 if self.place == 1 else self.secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What a round of re-encryption did; `unreadable` are the columns of rows that no present key opens."""

    secrets: int
    unreadable: list[str]


async def alone(platform: Connection) -> None:
    """From here to the end of this connection no other rotation runs. Raises Conflict when one does.

    Of two that write the key file at once, the key of one would be lost, and with it what it has encrypted.
    """
    row = await (await platform.execute("SELECT pg_try_advisory_lock(%s) AS ours", [LOCK])).fetchone()
    if row is None or not row["ours"]:
        raise Conflict("another `recado secrets rotate` is running: wait for it")


async def usage(platform: Connection, keyring: Keyring) -> list[KeyUse]:
    """Each key that is there or needed, the one that encrypts first."""
    counts = dict.fromkeys(keyring.ids, 0)
    for table, columns in SEALED.items():
        for column in columns:
            query = sql.SQL(
                "SELECT substr({column}, 1, 5) AS head, count(*) AS n FROM {table} "
                "WHERE {column} IS NOT NULL GROUP BY 1"
            ).format(column=sql.Identifier(column), table=sql.Identifier(table))
            for row in await (await platform.execute(query)).fetchall():
                known = key_id(row["head"])
                counts[known] = counts.get(known, 0) + row["n"]
    places = {known: place for place, known in enumerate(keyring.ids, start=1)}
    return [KeyUse(key_id=known, place=places.get(known), secrets=n) for known, n in counts.items()]


async def rekey(
    platform: Connection, keyring: Keyring, *, advance: Callable[[], None] = lambda: None, batch: int = BATCH
) -> Rekeyed:
    """Seal again what is not sealed with the first key; `advance` is called for each secret.

    A transaction for each batch of rows, locked meanwhile: what was done stays done, and running it again goes on
    where it stopped.
    """
    secrets, unreadable = 0, []
    for table, columns in SEALED.items():
        after: tuple[UUID | None, UUID] | None = None
        while True:
            async with platform.transaction():
                rows = await (await platform.execute(_next(table, columns), _from(after, keyring, batch))).fetchall()
                for row in rows:
                    done, closed = await _seal_again(platform, keyring, table, columns, row)
                    secrets += done
                    unreadable += closed
                    for _ in range(done):
                        advance()
            if len(rows) < batch:
                break
            after = rows[-1]["owner_id"], rows[-1]["id"]
    return Rekeyed(secrets=secrets, unreadable=unreadable)


def _next(table: str, columns: tuple[str, ...]) -> sql.Composed:
    other = sql.SQL(" OR ").join(
        sql.SQL("substr({}, 1, 5) <> %(head)s").format(sql.Identifier(column)) for column in columns
    )
    return sql.SQL(
        "SELECT owner_id, id, {columns} FROM {table} "
        # What is the platform's own has no owner.
        "WHERE (%(id)s::uuid IS NULL"
        " OR (coalesce(owner_id, {none}), id) > (coalesce(%(owner)s::uuid, {none}), %(id)s)) "
        "AND ({other}) ORDER BY coalesce(owner_id, {none}), id LIMIT %(batch)s FOR UPDATE"
    ).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        table=sql.Identifier(table),
        other=other,
        none=sql.Literal(UUID(int=0)),
    )


def _from(after: tuple[UUID | None, UUID] | None, keyring: Keyring, batch: int) -> dict[str, Any]:
    owner, row_id = after or (None, None)
    return {"owner": owner, "id": row_id, "head": keyring.head, "batch": batch}


async def _seal_again(
    platform: Connection, keyring: Keyring, table: str, columns: tuple[str, ...], row: dict[str, Any]
) -> tuple[int, list[str]]:
    done, closed = 0, []
    for column in columns:
        if row[column] is None or row[column].startswith(keyring.head):
            continue
        place = f"{table}/{row['id']}/{column}"
        try:
            secret = keyring.open(row[column], owner_id=row["owner_id"], row=place)
            sealed = keyring.seal(secret, owner_id=row["owner_id"], row=place)
        except SecretError:
            closed.append(place)
            continue
        await platform.execute(
            sql.SQL("UPDATE {} SET {} = %s WHERE owner_id IS NOT DISTINCT FROM %s AND id = %s").format(
                sql.Identifier(table), sql.Identifier(column)
            ),
            [sealed, row["owner_id"], row["id"]],
        )
        done += 1
    return done, closed
