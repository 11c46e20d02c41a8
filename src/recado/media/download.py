"""Fetching attachments from Twilio without being led anywhere else."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import aiohttp

from recado.errors import RecadoError
from recado.media import sniff
from recado.settings import Settings

API_URL: Final = "https://api.twilio.com"

Refusal = Literal["address", "redirect", "size", "type", "encoding", "empty"]
Absence = Literal["missing", "login", "failing", "slow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A file that was fetched: its type by its content, its size, its digest."""

    content_type: str
    size_bytes: int
    sha256: bytes = field(repr=False)


class MediaRefused(RecadoError):
    """It is not what may be kept: `reason` says in a word why. Fetching it again would change nothing."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"the attachment is refused: {reason}")
        self.reason: Refusal = reason


class MediaUnavailable(RecadoError):
    """It could not be had: `reason` says in a word why. All that could be tried was."""

    def __init__(self, reason: Absence) -> None:
        super().__init__(f"the attachment can't be fetched: {reason}")
        self.reason: Absence = reason


class Downloads:
    """Fetches attachments for one process; belongs to the event loop that first fetches with it."""

    def __init__(self, *, api_url: str | None, max_bytes: int) -> None:
        self._api_url = (api_url or API_URL).rstrip("/")
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def fetch(
        self,
        *,
        url: str,
        account_sid: str,
        message_sid: str,
        login: tuple[str, str],
        announced_type: str,
        into: Path,
    ) -> Downloaded:
        """Fetch the attachment of that message into a new file, readable by nobody else.

        Raises MediaRefused or MediaUnavailable, and leaves no file then.
        """
        if not url.startswith(f"{self._api_url}/2010-04-01/Accounts/{account_sid}/Messages/{message_sid}/Media/"):
            raise MediaRefused("address")
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        try:
            async with self._session.get(url, auth=aiohttp.BasicAuth(*login)) as answer:
                if answer.status != 200:
                    raise MediaUnavailable("missing" if answer.status == 404 else "failing")
                body = await answer.content.read(self._max_bytes + 1)
                while not answer.content.at_eof() and len(body) <= self._max_bytes:
                    body += await answer.content.readany()
        except aiohttp.ClientError:
            raise MediaUnavailable("failing") from None
        if len(body) > self._max_bytes:
            raise MediaRefused("size")
        content_type = sniff.content_type_of(body[: sniff.HEAD_BYTES])
        if content_type is None:
            raise MediaRefused("type")
        await asyncio.to_thread(into.write_bytes, body)
        return Downloaded(content_type=content_type, size_bytes=len(body), sha256=hashlib.sha256(body).digest())

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def open_downloads(settings: Settings) -> Downloads:
    """The downloads of a process with these settings."""
    return Downloads(api_url=settings.twilio_api_url, max_bytes=settings.media_max_mb * 1_000_000)
