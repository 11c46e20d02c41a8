"""Connections that strangers may name the other end of: only to addresses that pass, as they were looked up.

For what is downloaded from where a redirect leads, and what is posted to where an owner says.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class NotPublic(OSError):
    """An address that may not be connected to."""


#: How many names of strangers are looked up at once; more are refused, which their owners' back-off spreads.
LOOKUPS: Final = 64


class Names(AbstractResolver):
    """Looks strangers' names up by the system, in threads of its own: a name server that never answers keeps one each.

    A name that is being looked up is not looked up again beside: whoever asks hears of the same answer, and whoever
    stops waiting takes it from nobody. The threads that the process shares do none of it.
    """

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int], asyncio.Future[list[tuple[int, int, str]]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The name's addresses. Raises OSError where there are none, or too many names are being looked up."""
        key = (host, int(family))
        if (asked := self._asked.get(key)) is None:
            if len(self._asked) >= LOOKUPS:
                raise OSError("too many names are being looked up")
            asked = self._asked[key] = asyncio.get_running_loop().create_future()
            asked.add_done_callback(lambda done: self._answered(key, done))
            threading.Thread(target=_look_up, args=(key, asked), name="names", daemon=True).start()
        return [
            ResolveResult(hostname=host, host=address, port=port, family=of, proto=proto, flags=_NUMERIC)
            for of, proto, address in await asyncio.shield(asked)
        ]

    def _answered(self, key: tuple[str, int], done: asyncio.Future[list[tuple[int, int, str]]]) -> None:
        self._asked.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever asked may have stopped waiting

    async def close(self) -> None:
        """Nothing: what is being looked up ends by itself."""


_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def _look_up(key: tuple[str, int], asked: asyncio.Future[list[tuple[int, int, str]]]) -> None:
    """In a thread: have the future answered."""
    host, family = key
    found: list[tuple[int, int, str]] = []
    error: OSError | None = None
    try:
        for of, _, proto, _, address in socket.getaddrinfo(
            host, None, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        ):
            if of in (socket.AF_INET, socket.AF_INET6) and (len(address) < 4 or not address[3]):  # no link's own
                found.append((of, proto, str(address[0])))
    except OSError as failed:
        error = failed
    except Exception:  # whatever it is, whoever asked has to hear
        error = OSError("no name that can be looked up")

    def answer() -> None:
        if not asked.done():
            if error is None and found:
                asked.set_result(found)
            else:
                asked.set_exception(error or OSError("no address"))

    with suppress(RuntimeError):  # the loop has ended meanwhile
        asked.get_loop().call_soon_threadsafe(answer)


class Guarded(AbstractResolver):
    """Looks names up, and knows only those all of whose addresses pass."""

    def __init__(self, resolver: AbstractResolver, passes: Callable[[str], bool]) -> None:
        self._resolver = resolver
        self._passes = passes

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The name's addresses. One that does not pass spoils all: a name has no honest reason to lead both ways."""
        found = await self._resolver.resolve(host, port, family)
        if not all(self._passes(item["host"]) for item in found):
            raise NotPublic("not a public address")
        return found

    async def close(self) -> None:
        """Close the resolver behind."""
        await self._resolver.close()


def guarded_session(
    passes: Callable[[str], bool],
    *,
    timeout: aiohttp.ClientTimeout,
    headers: Mapping[str, str],
    resolver: AbstractResolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
    new_socket: Callable[..., socket.socket] = socket.socket,
    limit: int = 32,
    read_bufsize: int = 2**16,
) -> aiohttp.ClientSession:
    """Connections to addresses that pass, and to no others: no proxies of the environment, no cookies.

    `resolver`, `ssl_context` and `new_socket` stand in for the system's where a test is its own internet.
    """

    def dial(info: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
        # What is about to be connected to, however it was found: the last word.
        if not passes(str(info[4][0])):
            raise NotPublic("not a public address")
        return new_socket(*info[:3])

    connector = aiohttp.TCPConnector(
        resolver=Guarded(resolver or Names(), passes),
        use_dns_cache=False,
        socket_factory=dial,
        ssl=ssl_context or True,
        limit=limit,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=timeout,
        headers=headers,
        read_bufsize=read_bufsize,
    )
