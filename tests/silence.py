"""A forwarder to the database that can go silent: connections stay open and acknowledged, and nothing comes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(slots=True)
class Forwarder:
    """Where to connect instead, and whether anything comes through; new connections are taken either way."""

    url: str = ""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def silence(self) -> None:
        self.open.clear()

    def cut(self) -> None:
        """End every connection, and take no more: nobody is there."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def forwarding(database_url: str) -> AsyncIterator[Forwarder]:
    parts = urlsplit(database_url)
    given = parse_qs(parts.query)
    path = f"{unquote(given['host'][0])}/.s.PGSQL.{given['port'][0]}"
    forwarder = Forwarder()
    forwarder.open.set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                await forwarder.open.wait()  # what was read is acknowledged, and goes nowhere
                writer.write(piece)
                await writer.drain()
        await forwarder.open.wait()  # an end is no more told than anything else
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_unix_connection(path)
        forwarder._writers += [writer, there[1]]
        for pair in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(pass_on(*pair))
            forwarder._tasks.add(task)

    server = forwarder._server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    credentials = parts.netloc.rpartition("@")[0]
    forwarder.url = f"postgresql://{credentials}@127.0.0.1:{port}{parts.path}?sslmode=disable&gssencmode=disable"
    try:
        yield forwarder
    finally:
        server.close()
        for task in forwarder._tasks:
            task.cancel()
        await asyncio.gather(*forwarder._tasks, return_exceptions=True)
        for writer in forwarder._writers:
            writer.transport.abort()
        await asyncio.sleep(0)
