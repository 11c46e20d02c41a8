"""An endpoint as an owner has it: it verifies what is posted with the standard's own library, and answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A post that came, with how to answer it."""

    path: str
    headers: dict[str, str]
    body: str
    number: int
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)

    @property
    def letter(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def what(self) -> str:
        return str(self.letter["data"].get("what", ""))

    async def answer(self, status: int, *headers: str, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()


Answer = Callable[[Call], Awaitable[None]]


def status(code: int, *headers: str, body: bytes = b"") -> Answer:
    """Always that status."""

    async def answer(call: Call) -> None:
        await call.answer(code, *headers, body=body)

    return answer


async def cut_off(call: Call) -> None:
    """It has the post, and the connection ends before it says so."""
    call.writer.close()


async def silent(call: Call) -> None:
    """It says nothing until the other side gives up."""
    with suppress(ConnectionError):
        await call.reader.read()


@dataclass(slots=True)
class Receiver:
    """A listening endpoint; `calls` are all posts that came, whatever was answered."""

    answer: Answer = field(default_factory=lambda: status(200))
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    open: int = 0
    most_open: int = 0
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=a%2Fb"

    async def until(self, done: Callable[[Receiver], bool], *, within_s: float = 60.0) -> None:
        """Wait until what has come is so."""
        async with asyncio.timeout(within_s), self.came:
            await self.came.wait_for(lambda: done(self))

    def whats(self, conversation_id: object = None) -> list[str]:
        """What was told of a conversation, or of all, each when it came for the first time."""
        seen: dict[str, str] = {}
        for call in self.calls:
            data = call.letter["data"]
            if conversation_id is None or data.get("conversation_id") == str(conversation_id):
                seen.setdefault(call.headers["webhook-id"], str(data.get("what", "")))
        return list(seen.values())

    def verified(self, secret: str) -> int:
        """How many posts the standard's verifier takes; it raises for one that it does not."""
        for call in self.calls:
            Webhook(secret).verify(call.body, call.headers)
        return len(self.calls)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                call = Call(
                    path=first.split(" ")[1],
                    headers=headers,
                    body=body.decode(),
                    number=len(self.calls) + 1,
                    reader=reader,
                    writer=writer,
                )
                self.calls.append(call)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                async with self.came:
                    self.came.notify_all()
                try:
                    await self.answer(call)
                finally:
                    self.open -= 1
                if writer.is_closing():
                    return
        writer.close()


@asynccontextmanager
async def receiving(answer: Answer | None = None, *, port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver that listens while this is open; left, it is as if it had been killed."""
    receiver = Receiver() if answer is None else Receiver(answer)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await receiver._serve(reader, writer)
        finally:
            writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await asyncio.sleep(0)
