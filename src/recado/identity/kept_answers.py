"""Answers that are kept for an `Idempotency-Key`, so that a request which comes again is answered, not done again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from recado.db.pool import Connection
from recado.db.secrets import Keyring
from recado.errors import SecretError

#: How long the same key gets the same answer.
KEPT: Final = timedelta(hours=24)
#: Answers that are opened before the next are read.
_BATCH: Final = 500


def sealed_row(entry: UUID) -> str:
    """What the sealed answer of an entry is bound to."""
    return f"idempotency_keys/{entry}/answer"


async def delete_old(platform: Connection, *, now: datetime, at_most: int = 10_000) -> int:
    """Delete answers that no request can get any more, of all owners and of none; says how many."""
    deleted = await platform.execute(
        """
        DELETE FROM idempotency_keys WHERE id IN (
            SELECT id FROM idempotency_keys WHERE created_at < %s
            ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED)
        """,
        [now - KEPT, at_most],
    )
    return deleted.rowcount


async def empty(platform: Connection, keyring: Keyring, owner_id: UUID, names: Callable[[str], bool]) -> int:
    """Empty an owner's answers of which `names` says so, and those that nobody can open; says how many.

    The entry stays: the request is not done again if it comes again, it is refused.
    """
    emptied = 0
    after = UUID(int=0)
    while True:
        cursor = await platform.execute(
            "SELECT id, answer FROM idempotency_keys WHERE owner_id = %s AND id > %s AND answer IS NOT NULL "
            "ORDER BY id LIMIT %s",
            [owner_id, after, _BATCH],
        )
        rows = await cursor.fetchall()
        theirs = [row["id"] for row in rows if _named(keyring, owner_id, row["id"], row["answer"], names)]
        if theirs:
            # What was asked goes too: its digest would tell whoever guesses it that they are right.
            done = await platform.execute(
                "UPDATE idempotency_keys SET answer = NULL, request_hash = sha256(uuid_send(gen_random_uuid())) "
                "WHERE owner_id = %s AND id = ANY(%s)",
                [owner_id, theirs],
            )
            emptied += done.rowcount
        if len(rows) < _BATCH:
            return emptied
        after = rows[-1]["id"]


def _named(keyring: Keyring, owner_id: UUID, entry: UUID, answer: bytes, names: Callable[[str], bool]) -> bool:
    try:
        return names(keyring.open(answer, owner_id=owner_id, row=sealed_row(entry)))
    except SecretError:
        return True
