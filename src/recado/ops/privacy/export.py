"""A copy of everything that is kept of a person: their rows as JSON, their files, and a manifest with hashes.

What is in it is what the map of personal data (`where`) finds of them: every table's rows, but for the owner's id.
It is read in small transactions and given out piece by piece, however much there is, and nothing of it is kept.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from mimetypes import guess_extension
from typing import Any, Final
from uuid import UUID

from psycopg import sql

from recado.conversations import erasures
from recado.conversations.erasures import Person
from recado.db.pool import Row
from recado.db.scope import Scope
from recado.errors import NotFound
from recado.media.storage import Storage, key_of
from recado.ops.privacy.where import TABLES, Found, Table

#: What the manifest says that it is.
FORM: Final = "recado-contact-export/1"
#: Messages whose rows are read in one transaction.
BATCH: Final = 500

Read = Callable[[], AbstractAsyncContextManager[Scope]]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of the copy, by its path in it; `pieces` are read before the next file is asked for."""

    path: str
    pieces: AsyncIterator[bytes] = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Copy:
    """A person's copy while it is given out; `manifest` is whole once `files` has ended."""

    read: Read
    storage: Storage
    owner_id: UUID
    person: Person
    made_at: datetime
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    _conversations: list[UUID] = field(default_factory=list)
    _files: list[tuple[UUID, str]] = field(default_factory=list, repr=False)
    _correlated: set[UUID] = field(default_factory=set)

    async def files(self) -> AsyncIterator[File]:
        """The files: a table each, then what was sent and received, in the end the manifest."""
        self.manifest = {
            "form": FORM,
            "owner_id": str(self.owner_id),
            "contact_ids": [str(one) for one in self.person.contact_ids],
            "made_at": self.made_at.isoformat(),
            "files": [],
            "missing": [],
        }
        self._conversations = await self._all_conversations()
        for table in TABLES:
            if table.found and not table.copies:
                yield self._counted(f"{table.name}.jsonl", self._lines(table))
        yield self._counted("suppressions.jsonl", self._suppressions())
        for media_id, ending in self._files:
            key = key_of(self.owner_id, media_id)
            first = await self._first(key, media_id)
            if first is not None:
                yield self._counted(f"media/{media_id}{ending}", self._rest(key, first))
        yield File(path="manifest.json", pieces=_one(json.dumps(self.manifest, indent=2).encode()))

    def _counted(self, path: str, pieces: AsyncIterator[bytes]) -> File:
        """The file, its size and hash noted in the manifest while it is read."""

        async def counted() -> AsyncIterator[bytes]:
            digest, size = hashlib.sha256(), 0
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
                yield piece
            self.manifest["files"].append({"path": path, "bytes": size, "sha256": digest.hexdigest()})

        return File(path=path, pieces=counted())

    async def _all_conversations(self) -> list[UUID]:
        async with self.read() as scope:
            cursor = await scope.conn.execute(
                "SELECT id FROM conversations WHERE owner_id = %s AND contact_id = ANY(%s) ORDER BY id",
                [scope.owner_id, self.person.contact_ids],
            )
            return [row["id"] for row in await cursor.fetchall()]

    async def _lines(self, table: Table) -> AsyncIterator[bytes]:
        """The person's rows of a table, a line of JSON each."""
        for found in table.found:
            if found.of == "contact":
                yield _lines(await self._rows(table, found, self.person.contact_ids))
            elif found.of == "conversation":
                for some in _slices(self._conversations):
                    yield _lines(await self._rows(table, found, some))
            else:
                async for ids in self._messages(found):
                    rows = await self._rows(table, found, ids)
                    self._note_files(table, rows)
                    yield _lines(rows)

    async def _messages(self, found: Found) -> AsyncIterator[list[UUID]]:
        """The ids of the person's messages, some at a time; for events those that they are about, each once."""
        for conversation_id in self._conversations:
            after = UUID(int=0)
            while True:
                async with self.read() as scope:
                    cursor = await scope.conn.execute(
                        "SELECT id, correlation_id FROM messages WHERE owner_id = %s AND conversation_id = %s "
                        "AND id > %s ORDER BY id LIMIT %s",
                        [scope.owner_id, conversation_id, after, BATCH],
                    )
                    rows = await cursor.fetchall()
                if found.by == "correlation_id":
                    new = {row["correlation_id"] for row in rows} - self._correlated
                    self._correlated |= new
                    yield sorted(new)
                else:
                    yield [row["id"] for row in rows]
                if len(rows) < BATCH:
                    break
                after = rows[-1]["id"]

    async def _rows(self, table: Table, found: Found, ids: list[UUID]) -> list[Row]:
        if not ids:
            return []
        columns = [column for column in (*table.none, *table.users, *table.contact) if column != "owner_id"]
        statement = sql.SQL("SELECT {} FROM {} WHERE owner_id = %s AND {} = ANY(%s)").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table.name), sql.Identifier(found.by)
        )
        if found.only_if:
            statement += sql.SQL(f" AND {found.only_if}")
        statement += sql.SQL(" ORDER BY ") + sql.Identifier("message_id" if table.name == "message_parts" else "id")
        if table.name == "message_parts":
            statement += sql.SQL(", part")
        async with self.read() as scope:
            cursor = await scope.conn.execute(statement, [scope.owner_id, ids])
            return await cursor.fetchall()

    def _note_files(self, table: Table, rows: list[Row]) -> None:
        """What is to be had from the storage: attachments, and what was uploaded to be sent to them."""
        if table.name == "media":
            for row in rows:
                if row["storage_key"] is not None:
                    self._files.append((row["id"], _ending(row["content_type"])))
        elif table.name == "messages":
            known = {media_id for media_id, _ in self._files}
            for row in rows:
                sent = (row["content"] or {}).get("media_id")
                if sent is not None and UUID(sent) not in known:
                    self._files.append((UUID(sent), ""))
                    known.add(UUID(sent))

    async def _suppressions(self) -> AsyncIterator[bytes]:
        """Whether they have opted out, and why."""
        async with self.read() as scope:
            cursor = await scope.conn.execute(
                "SELECT identity_key, reason, created_at, message_id, confirmation_id FROM suppressions "
                "WHERE owner_id = %s AND identity_key = ANY(%s) ORDER BY created_at",
                [scope.owner_id, self.person.identities],
            )
            rows = await cursor.fetchall()
        yield _lines(rows)

    async def _first(self, key: str, media_id: UUID) -> tuple[bytes, AsyncIterator[bytes]] | None:
        """A file's first piece, and where the others come from; one that is not there is said in the manifest."""
        pieces = self.storage.read(key)
        try:
            return await anext(pieces, b""), pieces
        except NotFound:
            self.manifest["missing"].append({"media_id": str(media_id), "why": "the storage does not have it any more"})
            return None

    async def _rest(self, _key: str, begun: tuple[bytes, AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
        first, pieces = begun
        yield first
        async for piece in pieces:
            yield piece


async def copy(read: Read, storage: Storage, owner_id: UUID, contact_id: UUID, *, made_at: datetime) -> Copy:
    """A copy of what is kept of the person who is this contact. Raises NotFound.

    `read` opens a transaction of the owner's; none is open while a piece is given out.
    """
    async with read() as scope:
        person = await erasures.person(scope, contact_id)
    return Copy(read=read, storage=storage, owner_id=owner_id, person=person, made_at=made_at)


class _Sink:
    """What `zipfile` writes to: it only ever goes on, and what was written is taken away at once."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)


async def zipped(files: AsyncIterator[File], *, made_at: datetime) -> AsyncIterator[bytes]:
    """The files as one ZIP archive, piece by piece. What is compressed already is not compressed again."""
    sink = _Sink()
    when = max(made_at.timetuple()[:6], (1980, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(sink, "w", allowZip64=True) as archive:  # type: ignore[call-overload]
        async for file in files:
            entry = zipfile.ZipInfo(file.path, date_time=when)
            entry.compress_type = zipfile.ZIP_STORED if file.path.startswith("media/") else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            with archive.open(entry, "w", force_zip64=True) as member:
                async for piece in file.pieces:
                    member.write(piece)
                    if written := sink.taken():
                        yield written
    yield sink.taken()


def _lines(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row, default=_plain, ensure_ascii=False).encode() + b"\n" for row in rows)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def _slices(ids: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _ending(content_type: str | None) -> str:
    return guess_extension(content_type or "") or ""


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
