"""Fetching attachments from Twilio without being led anywhere else.

A webhook was signed, but what stands behind its media link was put there by a stranger, and Twilio answers with a
redirect. So: the first address must be the message's own on the account's API host, to the letter; the login goes there
and nowhere else; a redirect leads over https to public addresses only, looked up once, checked, and connected to as
they were checked; and of what comes, only so much of the right kind is kept, for so long.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Literal

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from recado.errors import RecadoError
from recado.media import sniff
from recado.media.guarded import NotPublic, guarded_session
from recado.media.public import is_loopback, is_public
from recado.media.storage import new_file
from recado.settings import Settings

API_URL: Final = "https://api.twilio.com"
#: A fetch ends within this, however slowly the bytes come and however often it was tried.
DEADLINE_S: Final = 40.0
#: A valid link may be 404 for a few seconds; what fails otherwise is tried again after the same times.
PAUSES_S: Final = (1.0, 3.0)
REDIRECTS: Final = 3
_CONNECT_S: Final = 5.0
_SILENCE_S: Final = 10.0
_CHUNK: Final = 64 * 1024

_HEX: Final = "[0-9a-fA-F]{32}"
_ACCOUNT: Final = re.compile(f"AC{_HEX}")
_MESSAGE: Final = re.compile(f"[SM]M{_HEX}")
_MEDIA: Final = re.compile(f"ME{_HEX}")
#: What a redirect's address may be written with, so that no two readers of it read two addresses.
_LOCATION: Final = re.compile(r"[!#-\[\]^_a-z|~]{1,4096}")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """One fetch: from where, with which login, of which announced type, into which file."""

    url: URL
    login: tuple[str, str] = field(repr=False)
    announced_type: str
    path: Path
    file: BinaryIO


class Downloads:
    """Fetches attachments for one process; belongs to the event loop that first fetches with it.

    `resolver`, `ssl_context` and `new_socket` stand in for the system's where a test is its own internet.
    """

    def __init__(
        self,
        *,
        api_url: str | None,
        max_bytes: int,
        deadline_s: float = DEADLINE_S,
        pauses_s: tuple[float, ...] = PAUSES_S,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        new_socket: Callable[..., socket.socket] = socket.socket,
    ) -> None:
        self._api_url = (api_url or API_URL).rstrip("/")
        self._api = URL(self._api_url)
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s
        self._pauses_s = pauses_s
        self._resolver = resolver
        self._ssl = ssl_context
        self._new_socket = new_socket
        self._sessions: dict[Callable[[str], bool], aiohttp.ClientSession] = {}

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
        """Fetch the attachment of that message into a new file, readable by nobody else, within `deadline_s`.

        Raises MediaRefused or MediaUnavailable, and leaves no file then.
        """
        address = self._address(url, account_sid, message_sid)
        file = await asyncio.to_thread(new_file, into)
        try:
            with file:
                ask = _Ask(url=address, login=login, announced_type=announced_type, path=into, file=file)
                async with asyncio.timeout(self._deadline_s):
                    return await self._persistently(ask)
        except BaseException as error:
            await asyncio.to_thread(into.unlink, missing_ok=True)
            if isinstance(error, TimeoutError):
                raise MediaUnavailable("slow") from None
            raise

    def _address(self, url: str, account_sid: str, message_sid: str) -> URL:
        """The address of the message's own attachment. It is compared as text: nothing is read into it."""
        if not _ACCOUNT.fullmatch(account_sid) or not _MESSAGE.fullmatch(message_sid):
            raise MediaRefused("address")
        own = f"{self._api_url}/2010-04-01/Accounts/{account_sid}/Messages/{message_sid}/Media/"
        if not url.startswith(own) or not _MEDIA.fullmatch(url[len(own) :]):
            raise MediaRefused("address")
        return URL(url, encoded=True)

    async def _persistently(self, ask: _Ask) -> Downloaded:
        for pause_s in self._pauses_s:
            try:
                return await self._follow(ask)
            except MediaUnavailable as error:
                if error.reason == "login":
                    raise
            await asyncio.sleep(pause_s)
        return await self._follow(ask)

    async def _follow(self, ask: _Ask) -> Downloaded:
        """Go to the address and where it leads, with the login as long as that is the API's own host."""
        url, at_home = ask.url, True
        login = {"Authorization": "Basic " + b64encode(":".join(ask.login).encode()).decode()}
        for _ in range(REDIRECTS + 1):
            session = self._session(_anywhere if at_home else self._allowed(url))
            try:
                async with session.get(url, headers=login if at_home else None, allow_redirects=False) as answer:
                    if answer.status not in (301, 302, 303, 307, 308):
                        return await self._take(ask, answer, at_home=at_home)
                    url = _target(url, answer)
            except aiohttp.ClientConnectorError as error:
                if isinstance(error.os_error, NotPublic):
                    raise MediaRefused("redirect") from None
                raise MediaUnavailable("failing") from None
            except aiohttp.InvalidURL:
                raise MediaRefused("redirect") from None
            except (aiohttp.ClientError, TimeoutError, OSError):
                raise MediaUnavailable("failing") from None
            at_home = at_home and url.origin() == self._api.origin()
        raise MediaRefused("redirect")

    def _allowed(self, url: URL) -> Callable[[str], bool]:
        """Which addresses this address may lead to. Raises MediaRefused for one that may not be gone to at all."""
        host = url.host or ""
        if _is_local(host) and _is_local(self._api.host or ""):
            # The local Twilio has its second host beside it; nobody else's API is at home here.
            return is_loopback
        if url.scheme != "https" or url.port != 443 or (_is_address(host) and not is_public(host)):
            raise MediaRefused("redirect")
        return is_public

    async def _take(self, ask: _Ask, answer: aiohttp.ClientResponse, *, at_home: bool) -> Downloaded:
        """Keep what comes, as far as it may be kept."""
        if answer.status != 200:
            if at_home and answer.status in (401, 403):
                raise MediaUnavailable("login")
            raise MediaUnavailable("missing" if answer.status in (404, 410) else "failing")
        if any(said.lower() != "identity" for said in answer.headers.getall("Content-Encoding", ())):
            raise MediaRefused("encoding")
        if (answer.content_length or 0) > self._max_bytes:
            raise MediaRefused("size")
        ask.file.seek(0)
        ask.file.truncate()
        digest, size, head, looked = hashlib.sha256(), 0, b"", False
        # Written and hashed right here: 64 KiB cost less than a change of thread.
        async for piece in answer.content.iter_chunked(_CHUNK):
            size += len(piece)
            if size > self._max_bytes:
                raise MediaRefused("size")
            if not looked:
                head += piece
                looked = len(head) >= sniff.HEAD_BYTES
                if looked and not sniff.may_become(head[: sniff.HEAD_BYTES], ask.announced_type):
                    raise MediaRefused("type")
            digest.update(piece)
            ask.file.write(piece)
        if size == 0:
            raise MediaRefused("empty")
        ask.file.flush()
        content_type = await asyncio.to_thread(sniff.settle, ask.path, ask.announced_type)
        if content_type is None:
            raise MediaRefused("type")
        return Downloaded(content_type=content_type, size_bytes=size, sha256=digest.digest())

    def _session(self, passes: Callable[[str], bool]) -> aiohttp.ClientSession:
        """A guarded session for addresses that pass."""
        session = self._sessions.get(passes)
        if session is None:
            session = self._sessions[passes] = guarded_session(
                passes,
                resolver=self._resolver,
                ssl_context=self._ssl,
                new_socket=self._new_socket,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S),
                headers={"User-Agent": "recado", "Accept": "*/*", "Accept-Encoding": "identity"},
                read_bufsize=_CHUNK,
            )
        return session

    async def aclose(self) -> None:
        """Close the connections."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()


def open_downloads(settings: Settings) -> Downloads:
    """The downloads of a process with these settings."""
    return Downloads(api_url=settings.twilio_api_url, max_bytes=settings.media_max_mb * 1_000_000)


def _anywhere(_: str) -> bool:
    """Any address: of the API's own host, which the settings name."""
    return True


def _target(url: URL, answer: aiohttp.ClientResponse) -> URL:
    """Where a redirect leads. Raises MediaRefused for an address that is written in any unusual way."""
    location = answer.headers.get("Location", "")
    if not _LOCATION.fullmatch(location):
        raise MediaRefused("redirect")
    try:
        target = url.join(URL(location, encoded=True))
        written = (target.raw_authority or "").lower()
        host, port = (target.raw_host or "").lower(), target.explicit_port
    except ValueError:
        raise MediaRefused("redirect") from None
    bare = f"[{host}]" if ":" in host else host
    # The authority is the host and its port, nothing else: no user, no second colon, no brackets around a name.
    if written not in (bare, f"{bare}:{port}") or not _HOST.fullmatch(bare) or target.scheme not in ("http", "https"):
        raise MediaRefused("redirect")
    return target


def _is_local(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()
