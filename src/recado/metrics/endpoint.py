"""The page at `/metrics`, on a port of its own that is nobody's but the operator's.

It is served by threads of its own, so that a scrape waits for no turn and a loop that hangs can be seen to. The worker
of `recado serve` has no port: its page comes over a socket to the process that started it, which shows both, each line
with the process that it is of.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import prometheus_client
import structlog

from recado import metrics
from recado.errors import RecadoError
from recado.metrics import families
from recado.metrics.families import TEXT

log = structlog.get_logger("recado")

#: Who asks has so long to say so, and the worker beside so long to answer; so many are answered at once.
PATIENCE_S: Final = 5.0
BESIDE_S: Final = 2.0
AT_ONCE: Final = 4
#: In the environment of a worker of `recado serve`: the descriptor over which its page is asked for.
ASKED: Final = "_RECADO_METRICS"
_HEAD: Final = struct.Struct("!BI")

Page = Callable[[], bytes]


def page_of(role: metrics.Role) -> Page:
    """What this process's page is; made anew each time it is asked for."""
    own = prometheus_client.ProcessCollector(registry=None)
    there = metrics.of_role(role)
    return lambda: families.page(there, [own])


@contextmanager
def serving(page: Page, host: str, port: int) -> Iterator[tuple[str, int]]:
    """The page at `/metrics` of that address while this is open; answers where. Port 0 takes a free one.

    Raises RecadoError when it can't listen there.
    """
    room = threading.Semaphore(AT_ONCE)

    class Handler(_Handler):
        made = staticmethod(page)

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        block_on_close = False

        def server_bind(self) -> None:
            socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the name service who we are

        def process_request(self, request: Any, client_address: Any) -> None:
            if room.acquire(blocking=False):
                super().process_request(request, client_address)
            else:
                self.shutdown_request(request)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                room.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            log.info("metrics_not_given", reason="the caller left")

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise RecadoError(f"can't listen for metrics on {host}:{port}: {error.strerror}") from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True, name="metrics")
    thread.start()
    there = server.server_address
    try:
        log.info("metrics_listening", host=str(there[0]), port=int(there[1]))
        yield str(there[0]), int(there[1])
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    made: Page
    timeout = PATIENCE_S
    server_version, sys_version = "recado", ""

    def do_GET(self) -> None:
        """The page, or 404."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """The page's headers."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        found = self.path.partition("?")[0] == "/metrics"
        content = self.made() if found else b"metrics are at /metrics\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", TEXT if found else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: a line each fifteen seconds tells nobody anything."""


class Beside:
    """The worker's page as the process that started it gets it, over a pair of sockets that it handed down.

    A question is a byte that counts up; an answer is that byte, a length and the page. So one that comes too late is
    known for what it is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._got = bytearray()
        self._asked = 0

    def replace(self) -> socket.socket:
        """A new pair for a worker that is about to be started; answers that worker's end."""
        ours, theirs = socket.socketpair()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket, self._got = ours, bytearray()
        return theirs

    def close(self) -> None:
        """There is no worker any more."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def page(self) -> bytes:
        """The worker's page; nothing while there is none, or it does not answer in time."""
        with self._lock:
            if self._socket is None:
                return b""
            self._asked = (self._asked + 1) % 256
            until = time.monotonic() + BESIDE_S
            try:
                self._socket.settimeout(BESIDE_S)
                self._socket.sendall(bytes([self._asked]))
                while True:
                    while (answer := self._answer()) is not None:
                        if answer[0] == self._asked:
                            return answer[1]
                    self._socket.settimeout(max(0.001, until - time.monotonic()))
                    piece = self._socket.recv(65536)
                    if not piece:
                        return b""
                    self._got += piece
            except OSError:
                return b""

    def _answer(self) -> tuple[int, bytes] | None:
        if len(self._got) < _HEAD.size:
            return None
        number, length = _HEAD.unpack_from(self._got)
        if len(self._got) < _HEAD.size + length:
            return None
        content = bytes(self._got[_HEAD.size : _HEAD.size + length])
        del self._got[: _HEAD.size + length]
        return number, content


def is_beside() -> bool:
    """Whether a process has started this worker beside it, and will ask for its page."""
    return ASKED in os.environ


def answer_beside(page: Page) -> None:
    """Answer the process that has started this worker beside it, whenever it asks for the page."""
    asked = socket.socket(fileno=int(os.environ.pop(ASKED)))  # what it starts itself is not asked
    asked.set_inheritable(False)

    def answer() -> None:
        with asked, contextlib.suppress(OSError):
            while questions := asked.recv(256):  # of several that were not answered the last is the one
                content = page()
                asked.sendall(_HEAD.pack(questions[-1], len(content)) + content)

    threading.Thread(target=answer, daemon=True, name="metrics-beside").start()


_NAMED: Final = re.compile(rb"^# (?:HELP|TYPE) (\S+)")
_SAMPLE: Final = re.compile(rb"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?")


def together(pages: dict[str, bytes]) -> bytes:
    """Several processes' pages as one: each family once, each line with the label `process`."""
    described: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for process, content in pages.items():
        label, family = f'process="{process}"'.encode(), b""
        for line in content.splitlines():
            named = _NAMED.match(line)
            if named is not None:
                family = named[1]
                lines = described.setdefault(family, [])
                if line not in lines and len(lines) < 2:
                    lines.append(line)
                continue
            if (sample := _SAMPLE.match(line)) is None:
                continue
            rest = line[sample.end() :]
            more = b"{" + label + (b"," + rest if sample[2] else b"}" + rest)
            samples.setdefault(family, []).append(sample[1] + more)
    lines = [line for family, about in described.items() for line in (*about, *samples.get(family, ()))]
    return b"\n".join(lines) + b"\n" if lines else b""
