"""Connections that strangers may name the other end of: only to addresses that pass, as they were looked up.

For what is downloaded from where a redirect leads, and what is posted to where an owner says.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class NotPublic(OSError):
    """An address that may not be connected to."""


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
        resolver=Guarded(resolver or aiohttp.ThreadedResolver(), passes),
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
