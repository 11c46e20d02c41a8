"""Who did what to which thing: append-only, written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.identity.callers import Caller

#: What is done to which thing, by the API and at the command line alike: the only words that there are for it.
DEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "api_key": ("add", "revoke"),
    "assistant": ("add", "change"),
    "consent_word": ("add", "remove"),
    "contact": ("suppress", "allow", "set_language", "export", "erase"),
    "database": ("restore", "release"),
    "conversation": ("take", "give_back", "close", "assign"),
    "invitation": ("add", "accept", "revoke"),
    "knowledge": ("add", "remove"),
    "media": ("upload",),
    "message": ("send", "retry"),
    "number": ("add", "change"),
    "owner": ("add", "rename", "suspend", "activate", "set_plan", "set_retention"),
    "plan": ("add", "change"),
    "release": ("promote", "adopt"),
    "secrets": ("rotate",),
    "session": ("sign_in", "sign_out"),
    "templates": ("sync",),
    "twilio_account": ("add", "change", "remove", "lose", "rotate", "finish_rotation", "cancel_rotation"),
    "user": ("add", "rename", "set_role", "set_password", "disable", "enable", "end_sessions"),
    "webhook": ("add", "change", "remove", "replay", "rotate"),
}

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
    """Write down that `caller` did `action` to `thing`. Raises ValueError for what is not among `DEEDS`.

    Call it with the scope, or the connection and its transaction, that makes the change: both are kept, or neither.
    With a scope the entry is that owner's; with a platform connection `owner_id` says whose, None the platform's.
    """
    if action not in DEEDS.get(thing, ()):
        raise ValueError(f"the audit has no word for this: {action} {thing}")
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
    where: Connection | Scope,
    *,
    owner_id: UUID | None = None,
    platform_only: bool = False,
    before: int | None = None,
    limit: int = 100,
) -> list[Entry]:
    """The newest entries, newest first: a scope's owner's; of a platform connection all, an owner's, or the platform's.

    `before` is the id of the last entry of the page before.
    """
    conn, whose = (where.conn, where.owner_id) if isinstance(where, Scope) else (where, owner_id)
    cursor = await conn.execute(
        f"""
        SELECT {_COLUMNS} FROM audit
        WHERE (%(owner)s::uuid IS NULL OR owner_id = %(owner)s) AND (NOT %(platform_only)s OR owner_id IS NULL)
          AND (%(before)s::bigint IS NULL OR id < %(before)s)
        ORDER BY id DESC LIMIT %(limit)s
        """,  # noqa: S608 - the columns are a constant
        {"owner": whose, "platform_only": platform_only, "before": before, "limit": limit},
    )
    return [Entry(**row) for row in await cursor.fetchall()]
