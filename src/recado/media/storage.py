"""Where attachments are kept: a folder, or a bucket of an S3-compatible store."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Protocol
from uuid import UUID

from recado.errors import NotFound, RecadoError
from recado.settings import Settings

CHUNK = 256 * 1024
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KEY = re.compile(rf"({_UUID})/({_UUID})")


class StorageUnavailable(RecadoError):
    """The storage does not answer, or refuses; later it may not."""


class Storage(Protocol):
    """A place for files under keys that `key_of` makes.

    All raise StorageUnavailable when it can't be done now; what reads raises NotFound for a key that there is not.
    """

    async def put(self, key: str, path: Path, *, content_type: str) -> None:
        """Keep a copy of the file under the key, in place of any other; it is there whole or not at all."""
        ...

    async def fetch(self, key: str, into: Path) -> None:
        """Copy what is kept into a new file, readable by nobody else."""
        ...

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """What is kept, in pieces: from byte `start` on, `length` bytes of it."""
        ...

    async def delete(self, key: str) -> None:
        """Keep it no longer; what is not there is no error."""
        ...

    def keys(self, *, before: datetime) -> AsyncIterator[str]:
        """The keys of what was put before that moment, in no order; anything else that lies there may come too."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


def key_of(owner_id: UUID, media_id: UUID) -> str:
    """The key of an attachment."""
    return f"{owner_id}/{media_id}"


def is_key(text: str) -> bool:
    """Whether `key_of` may have made it."""
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """The key itself. Raises ValueError for anything that `key_of` does not make."""
    if not is_key(key):
        raise ValueError("not a key of the storage")
    return key


def new_file(path: Path) -> BinaryIO:
    """A file that was not there before, to write, readable by nobody else."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def open_storage(settings: Settings) -> Storage:
    """The storage of RECADO_MEDIA_URL, or the folder `media` in RECADO_HOME."""
    if settings.media_url is None:
        return Folder(settings.home / "media")
    from recado.media.bucket import open_bucket

    return open_bucket(settings.media_url)


class Folder:
    """A storage in a folder of this machine, which only this user may enter."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _place(self, key: str) -> Path:
        return self._root / check_key(key)

    async def put(self, key: str, path: Path, *, content_type: str) -> None:
        """See Storage."""
        place = self._place(key)
        with _told():
            await asyncio.to_thread(self._put, place, path)

    def _put(self, place: Path, path: Path) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        draft = place.with_name(f".{token_hex(8)}")
        try:
            with open(path, "rb") as source, new_file(draft) as target:
                shutil.copyfileobj(source, target, CHUNK)
                target.flush()
                os.fsync(target.fileno())
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)

    async def fetch(self, key: str, into: Path) -> None:
        """See Storage."""
        place = self._place(key)

        def copy() -> None:
            with open(place, "rb") as source, new_file(into) as target:
                shutil.copyfileobj(source, target, CHUNK)

        with _told():
            await asyncio.to_thread(copy)

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See Storage."""
        place = self._place(key)
        with _told():
            file = await asyncio.to_thread(open, place, "rb")
        with file:
            file.seek(start)
            left = length
            while left is None or left > 0:
                piece = await asyncio.to_thread(file.read, CHUNK if left is None else min(CHUNK, left))
                if not piece:
                    return
                left = None if left is None else left - len(piece)
                yield piece

    async def delete(self, key: str) -> None:
        """See Storage."""
        place = self._place(key)
        with _told():
            await asyncio.to_thread(place.unlink, missing_ok=True)

    async def keys(self, *, before: datetime) -> AsyncIterator[str]:
        """See Storage."""
        for path in await asyncio.to_thread(lambda: list(self._root.glob("*/*"))):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    yield f"{path.parent.name}/{path.name}"

    async def aclose(self) -> None:
        """Nothing is open."""


@contextmanager
def _told() -> Iterator[None]:
    """Turn the system's errors, which quote paths, into ours, which say what can be done."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("the attachment is not kept any more") from None
    except OSError as error:
        raise StorageUnavailable(f"the folder of attachments can't be used: {error.strerror}") from None
