"""The port of storage: where attachments are kept, under keys of ours."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

from recado.errors import RecadoError

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
