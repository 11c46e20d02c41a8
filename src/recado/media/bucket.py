"""The storage in a bucket of S3 or of anything that speaks its protocol (extra `s3`).

Where it is and how to get in stand in the AWS_* variables, read as AWS's own tools read them, roles of machines
included; docs/how-to/media.md lists them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from recado.errors import NotFound, SettingsError
from recado.media.storage import CHUNK, StorageUnavailable, check_key, new_file

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store
except ImportError:
    raise SettingsError("RECADO_MEDIA_URL: an S3 bucket needs the extra s3: pip install 'recado[s3]'") from None

#: For one request; what is kept is small.
_REQUEST_S: Final = 30
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_bucket(url: str) -> Bucket:
    """The storage at `s3://bucket/prefix`. Raises SettingsError when the AWS_* variables make no sense."""
    parts = urlsplit(url)
    # Client options given in code end the reading of AWS_ALLOW_HTTP; who names an http:// address means it.
    in_clear = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
    try:
        store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options={
                "timeout": timedelta(seconds=_REQUEST_S),
                "connect_timeout": timedelta(seconds=5),
                "allow_http": in_clear,
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=_REQUEST_S)},
        )
    except (BaseError, ValueError):
        raise SettingsError("RECADO_MEDIA_URL: the AWS_* variables do not fit an S3 bucket") from None
    return Bucket(store)


class Bucket:
    """A Storage in a bucket."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    async def put(self, key: str, path: Path, *, content_type: str) -> None:
        """See Storage."""
        with _told():
            try:
                await obstore.put_async(self._store, check_key(key), path, attributes={"Content-Type": content_type})
            except FileNotFoundError:
                raise StorageUnavailable("the bucket of RECADO_MEDIA_URL, or the file to keep, is not there") from None

    async def fetch(self, key: str, into: Path) -> None:
        """See Storage."""
        pieces = self.read(key)
        first = await anext(pieces, b"")  # what is not there leaves no file
        with new_file(into) as file:
            file.write(first)
            async for piece in pieces:
                file.write(piece)

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See Storage."""
        if length == 0:
            return
        options: obstore.GetOptions = {}
        if start or length is not None:
            options = {"range": {"offset": start} if length is None else (start, start + length)}
        with _told():
            answer = await obstore.get_async(self._store, check_key(key), options=options)
            async for piece in answer.stream(min_chunk_size=CHUNK):
                yield bytes(piece)

    async def delete(self, key: str) -> None:
        """See Storage."""
        with _told():
            try:
                await obstore.delete_async(self._store, check_key(key))
            except FileNotFoundError:
                return

    async def keys(self, *, before: datetime) -> AsyncIterator[str]:
        """See Storage."""
        with _told():
            async for batch in obstore.list(self._store, chunk_size=500):
                for item in batch:
                    if item["last_modified"] < before:
                        yield item["path"]

    async def aclose(self) -> None:
        """Nothing of ours is open."""


@contextmanager
def _told() -> Iterator[None]:
    """Turn the library's errors, which quote addresses and answers, into ours, which don't."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("the attachment is not kept any more") from None
    except BaseError as error:
        raise StorageUnavailable(f"the bucket of RECADO_MEDIA_URL can't be used: {type(error).__name__}") from None
