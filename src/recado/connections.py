"""Connections: what a stranger may cost who opens them and then doesn't get on.

`PatientProtocol` bounds heads, and drops connections that do not get on with their request, or don't take their answer.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from recado.edge import Callers

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

#: A request must have arrived whole within this, from its first byte or from the connection's opening.
ARRIVAL_S = 10.0
#: But a file that is sent to this path by somebody we know may take longer, if so much of it comes a second.
UPLOADS = "/v1/media"
UPLOAD_BYTES_S = 10_000
#: So long may a client take nothing of its answer.
TAKING_S = 10.0
#: And after so long its connection is the first to make room.
STUCK_S = 1.0
#: What the kernel holds of one connection's answers; by itself it would hold megabytes for each that doesn't read.
SEND_BYTES = 128 * 1024
#: Requests that may wait on one connection for the answer before theirs; nobody who calls us sends so many ahead.
AHEAD = 8
#: Request line and headers together, and how many headers: Twilio sends a dozen in about 1 KiB.
HEAD_BYTES = 32 * 1024
HEADERS = 100
#: Of the connections that the server takes, as many may be idle or slow; one more, and the slowest goes.
CROWDED = 800
#: As many may be one address's. A proxy inside our own walls or on the list of trusted ones has all; one elsewhere that
#: nobody told us of keeps far fewer open.
OF_ADDRESS = 400

_AT_ONCE = struct.pack("ii", 1, 0)
_PROBLEM = b'{"type":"about:blank","title":"Bad request","status":400}'
_NO_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_PROBLEM), _PROBLEM)
)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the bounds that it lacks: on a head's size, and on how long a request may take to come
    and an answer to leave.

    uvicorn's keep-alive time-out covers neither a connection that has not asked anything yet, nor one in the middle of
    its request, nor one whose answer nobody takes, and httptools collects headers without end.
    """

    callers = Callers(())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the newcomer its time, and room if there is little."""
        self._arriving: asyncio.TimerHandle | None = None
        self._whole = True
        self._taken = self._taken_before = 0
        self._uploads = False
        self._app = self.app
        self.idle_since: float | None = self.loop.time()
        self._leaving: asyncio.TimerHandle | None = None
        self._unsent = 0
        self.untaken_since: float | None = None
        self._answering: RequestResponseCycle | None = None
        super().connection_made(transport)
        self.address = self.callers.bounded(self.client[0]) if self.client else ""
        if len(self.connections) > OF_ADDRESS and self.address:
            of_address = [one for one in self.connections if _address_of(one) == self.address]
            if len(of_address) > OF_ADDRESS:
                _make_room(of_address)
        if len(self.connections) > CROWDED:
            _make_room(self.connections)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the times, and let whatever is being answered know: uvicorn tells only the last request that came."""
        self._expected()
        self._left()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Bytes of an answer wait for the client to take some."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has taken them; all but a few."""
        super().resume_writing()
        self._left()
        if self.transport.is_closing():
            self._watch()

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
        """A request has begun. Whoever sends too many ahead is told that this is none."""
        if len(self.pipeline) >= AHEAD:
            raise ValueError("too many requests ahead of their answers")
        self._whole = self._has_head = self._uploads = False
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
        if self.scope["method"] == "POST" and self.scope["path"] == UPLOADS:
            self._uploads = True
            self._taken_before = self._taken
            self._expected()  # what came before the body took from none of its time

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._whole = True
        self._taken = 0
        self.idle_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """From here on the connection is idle, or goes as soon as its answer has left."""
        self.idle_since = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets the problem document of any bad request, without the parser's words; then close."""
        self.transport.write(_NO_HTTP)
        self._close()

    def timeout_keep_alive_handler(self) -> None:
        """Idle for too long."""
        self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

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
        if self._uploads and self._gets_on():
            self._taken_before = self._taken
            self.idle_since = self.loop.time()
            self._expect()
        elif self._whole and self._taken == 0:
            self._close()
        else:
            self._refuse(b"408 Request Timeout")

    def _gets_on(self) -> bool:
        """Whether enough of the file has come since last time, or would have, and somebody still wants it."""
        if self.cycle is None or self.cycle.response_complete or self.transport.is_closing():
            return False
        return self.flow.read_paused or self._taken - self._taken_before >= UPLOAD_BYTES_S * ARRIVAL_S

    def _refuse(self, status: bytes) -> None:
        """Say so on the wire, unless an answer is on its way, and close; the application hears of a disconnect."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
                self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self._close()

    def _close(self) -> None:
        """Close when what was written has left, which may take as long as an answer may."""
        self.transport.close()
        self._watch()

    def _watch(self) -> None:
        """Look every `TAKING_S` whether bytes leave; only while nothing is written, or what leaves can't be told."""
        if self._leaving is None and self.parser is not None:  # None: the connection is lost
            self._unsent = self._not_taken()
            self.untaken_since = self.loop.time()
            self._leaving = self.loop.call_later(TAKING_S, self._check_leaving)

    def _check_leaving(self) -> None:
        waiting = self.transport.get_write_buffer_size() > 0
        if waiting and self._not_taken() >= self._unsent:
            self.drop()
            return
        self._left()
        if waiting:
            self._watch()

    def _not_taken(self) -> int:
        """Bytes of answers that are here or in the kernel, which by itself makes room for more in large steps only."""
        try:
            queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:  # a system that does not tell
            queued = bytes(4)
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)

    def _left(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = self.untaken_since = None

    def drop(self) -> None:
        """End the connection now, and what waits to leave with it."""
        if self.untaken_since is not None:  # else the kernel keeps what it holds of the answer, and tries for minutes
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._left()
        self.idle_since = None
        self.transport.abort()

    def order_to_go(self) -> tuple[bool, float] | None:
        """The smaller, the sooner it makes room: before all others, where nobody is taking its answer. None: never."""
        if self.untaken_since is not None:
            return (self.loop.time() - self.untaken_since < STUCK_S, self.untaken_since)
        return None if self.idle_since is None else (True, self.idle_since)


def patient(callers: Callers) -> type[PatientProtocol]:
    """The protocol of a server whose proxies those callers tell from strangers."""

    class Patient(PatientProtocol):
        pass

    Patient.callers = callers
    return Patient


def _address_of(connection: Any) -> str:
    return connection.address if isinstance(connection, PatientProtocol) else ""


def _make_room(connections: Iterable[Any]) -> None:
    """Drop the connection that has not taken its answer for longest, or else has been idle or slow for longest."""
    waiting = [(order, one) for one in connections if (order := one.order_to_go()) is not None]
    if waiting:
        min(waiting, key=lambda found: found[0])[1].drop()


async def _head_too_large(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"connection", b"close"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
