"""Connections: what a stranger may cost who opens them and then doesn't get on.

`PatientProtocol` bounds heads, and drops connections that do not get on with their request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: A request must have arrived whole within this, from its first byte or from the connection's opening.
ARRIVAL_S = 10.0
#: Request line and headers together, and how many headers: Twilio sends a dozen in about 1 KiB.
HEAD_BYTES = 32 * 1024
HEADERS = 100
#: Of the connections that the server takes, as many may be idle or slow; one more, and the longest idle goes.
CROWDED = 800


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the bounds that it lacks: on a head's size, and on how long a request may take to come.

    uvicorn's keep-alive time-out covers neither a connection that has not asked anything yet nor one in the middle of
    its request, and httptools collects headers without end.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the newcomer its time, and room if there is little."""
        self._arriving: asyncio.TimerHandle | None = None
        self._whole = True
        self._taken = 0
        self._app = self.app
        self.idle_since: float | None = self.loop.time()
        super().connection_made(transport)
        if len(self.connections) > CROWDED:
            _make_room(self.connections)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._expected()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a request that is not whole afterwards has its time running."""
        self._taken += len(data)
        super().data_received(data)
        if self.parser is None or self.transport.is_closing():
            return
        if not self._whole:
            if self._taken > HEAD_BYTES and not self._has_head:
                self._refuse(b"431 Request Header Fields Too Large")
            elif self._arriving is None:
                self._expect()
        elif self.cycle is None or self.cycle.response_complete:
            self._expect()  # nothing but blank lines, which end uvicorn's keep-alive time-out
        elif self._arriving is not None:
            self._expected()

    def on_message_begin(self) -> None:
        """A request has begun."""
        self._whole = self._has_head = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Refuse a head that is too large, hand on any other."""
        self._has_head = True
        too_large = len(self.headers) > HEADERS or (
            self._taken > HEAD_BYTES
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES
        )
        self.app = _head_too_large if too_large else self._app
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._whole = True
        self._taken = 0
        self.idle_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """From here on the connection is idle."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: whoever asks for another protocol is answered in this one, and no log need hear of it."""

    def _expect(self) -> None:
        if self._arriving is None:
            self._arriving = self.loop.call_later(ARRIVAL_S, self._too_late)

    def _expected(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _too_late(self) -> None:
        self._arriving = None
        if self._whole and self._taken == 0:
            self.transport.close()
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """Say so on the wire, unless an answer is on its way, and close; the application hears of a disconnect."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
                self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


def _make_room(connections: Iterable[Any]) -> None:
    """Close the connection that has been idle or in the middle of its request for longest."""
    idle = [one for one in connections if isinstance(one, PatientProtocol) and one.idle_since is not None]
    if idle:
        min(idle, key=lambda one: one.idle_since or 0.0).transport.close()


async def _head_too_large(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"connection", b"close"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
