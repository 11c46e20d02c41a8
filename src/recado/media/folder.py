"""The storage in a folder of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from recado.errors import NotFound
from recado.media.storage import CHUNK, StorageUnavailable, check_key, new_file


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
