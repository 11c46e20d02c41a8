"""Attachments: what came with a message, or will go with one, and what became of fetching it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from recado.db.pool import Row
from recado.db.scope import Scope
from recado.delivery.file_names import file_name as named
from recado.errors import NotFound

#: Nothing was fetched yet.
WAITING = "waiting"
#: It is in the storage under `storage_key`.
STORED = "stored"
#: It is not what may be kept: of a wrong type, too large, from somewhere else. Never fetched again.
REFUSED = "refused"
#: It could not be fetched.
FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One attachment. `announced_type` is what the sender says it is, `content_type` what its first bytes say.

    `file_name` is its sender's, as it may be shown and saved under: with an ending of the `content_type`. `reason` is a
    word for why it was refused or failed. `text` is what a document says.
    """

    id: UUID
    message_id: UUID | None
    ordinal: int
    url: str | None = field(repr=False)
    announced_type: str
    file_name: str | None = field(repr=False)
    status: str
    reason: str | None
    content_type: str | None
    size_bytes: int | None
    sha256: bytes | None = field(repr=False)
    storage_key: str | None
    duration_s: float | None
    width: int | None
    height: int | None
    pages: int | None
    text: str | None = field(repr=False)


#: Why it was not kept or not understood, where that may have been put right since: it can be tried again.
CURABLE = (
    *("no_model", "no_transcriber", "over_budget", "unavailable", "slow", "format"),
    *("login", "account", "failing", "storage", "late", "quota"),
)


_COLUMNS = (
    "id, message_id, ordinal, url, announced_type, file_name, status, reason, content_type, size_bytes, sha256, "
    "storage_key, duration_s, width, height, pages, text"
)


async def get(scope: Scope, media_id: UUID) -> Media:
    """The attachment. Raises NotFound."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM media WHERE owner_id = %s AND id = %s",  # noqa: S608 - the columns are a constant
        [scope.owner_id, media_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no media {media_id}")
    return _media(row)


def _media(row: Row) -> Media:
    # Here, not where it is stored: rows from before, and those whose type is not known yet, have names as they came.
    return Media(**row | {"file_name": named(row["file_name"], row["content_type"] or row["announced_type"])})


async def of_messages(scope: Scope, message_ids: Sequence[UUID]) -> dict[UUID, list[Media]]:
    """The attachments of these messages, each message's in its order; a message without any is left out."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM media WHERE owner_id = %s AND message_id = ANY(%s) "  # noqa: S608
        "ORDER BY message_id, ordinal",
        [scope.owner_id, list(message_ids)],
    )
    found: dict[UUID, list[Media]] = {}
    for row in await cursor.fetchall():
        found.setdefault(row["message_id"], []).append(_media(row))
    return found


async def by_ids(scope: Scope, media_ids: Sequence[UUID]) -> dict[UUID, Media]:
    """These attachments by their ids; one that there is not is left out."""
    cursor = await scope.conn.execute(
        f"SELECT {_COLUMNS} FROM media WHERE owner_id = %s AND id = ANY(%s)",  # noqa: S608 - the columns are a constant
        [scope.owner_id, list(media_ids)],
    )
    return {row["id"]: _media(row) for row in await cursor.fetchall()}


async def settle(
    scope: Scope,
    media_id: UUID,
    *,
    status: str,
    now: datetime,
    reason: str | None = None,
    content_type: str | None = None,
    size_bytes: int | None = None,
    sha256: bytes | None = None,
    storage_key: str | None = None,
    duration_s: float | None = None,
    width: int | None = None,
    height: int | None = None,
    pages: int | None = None,
    text: str | None = None,
) -> None:
    """What became of fetching it: stored with these properties, or refused or failed for `reason`."""
    await scope.conn.execute(
        """
        UPDATE media
        SET status = %(status)s, settled_at = %(now)s, reason = %(reason)s, content_type = %(content_type)s,
            size_bytes = %(size_bytes)s, sha256 = %(sha256)s, storage_key = %(storage_key)s,
            duration_s = %(duration_s)s, width = %(width)s, height = %(height)s, pages = %(pages)s,
            text = %(text)s
        WHERE owner_id = %(owner_id)s AND id = %(id)s
        """,
        {
            "owner_id": scope.owner_id,
            "id": media_id,
            "status": status,
            "now": now,
            "reason": reason,
            "content_type": content_type,
            "size_bytes": size_bytes,
            "sha256": sha256,
            "storage_key": storage_key,
            "duration_s": duration_s,
            "width": width,
            "height": height,
            "pages": pages,
            "text": text,
        },
    )


async def add_upload(
    scope: Scope,
    media_id: UUID,
    *,
    content_type: str,
    file_name: str | None,
    size_bytes: int,
    sha256: bytes,
    storage_key: str,
    now: datetime,
) -> None:
    """A file that the owner gave to be sent, and that is in the storage already; no message has it yet."""
    await scope.conn.execute(
        """
        INSERT INTO media (owner_id, id, announced_type, file_name, status, content_type, size_bytes, sha256,
                           storage_key, created_at, settled_at)
        VALUES (%(owner_id)s, %(id)s, %(type)s, %(file_name)s, 'stored', %(type)s, %(size)s, %(sha256)s, %(key)s,
                %(now)s, %(now)s)
        """,
        {
            "owner_id": scope.owner_id,
            "id": media_id,
            "type": content_type,
            "file_name": file_name,
            "size": size_bytes,
            "sha256": sha256,
            "key": storage_key,
            "now": now,
        },
    )
