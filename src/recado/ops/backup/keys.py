"""Which keys a database can't do without: told by their fingerprints, before anything is served."""

from __future__ import annotations

from psycopg import sql

from recado.db.pool import Connection
from recado.db.secrets import SEALED, Keyring, key_id
from recado.errors import SettingsError

#: What is sealed here is gone in a day: it keeps no process from starting.
_PASSING = ("idempotency_keys",)


async def needed(platform: Connection) -> frozenset[str]:
    """The fingerprints of the keys that stored secrets are sealed with; kept answers, which pass, don't count."""
    found: set[str] = set()
    for table, columns in SEALED.items():
        for column in columns if table not in _PASSING else ():
            query = sql.SQL("SELECT DISTINCT substr({column}, 1, 5) AS head FROM {table} WHERE {column} IS NOT NULL")
            cursor = await platform.execute(query.format(column=sql.Identifier(column), table=sql.Identifier(table)))
            found |= {key_id(row["head"]) for row in await cursor.fetchall()}
    return frozenset(found)


async def refuse_wrong(platform: Connection, keyring: Keyring) -> None:
    """Raise SettingsError, naming fingerprints, when a stored secret was sealed with a key that is not there."""
    if missing := sorted(await needed(platform) - set(keyring.ids)):
        raise SettingsError(
            f"RECADO_SECRET_KEYS: stored secrets need the key {', '.join(missing)}, and there is "
            f"{', '.join(keyring.ids)}: put it back, or give those tokens again (`recado secrets status`)"
        )
