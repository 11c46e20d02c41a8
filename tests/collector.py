"""A collector of spans by OTLP/HTTP, for tests: it keeps what it gets, or hangs, or refuses."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A span as it came, and which process sent it."""

    trace: str
    id: str
    parent: str
    name: str
    process: str
    failed: bool
    took_s: float
    attributes: dict[str, Any]


@dataclass(slots=True)
class CollectorServer:
    """`url` is for OTEL_EXPORTER_OTLP_ENDPOINT; `status` is what it answers, `hangs` keeps it from answering."""

    url: str = ""
    status: int = 200
    hangs: bool = False
    raw: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    requests: int = 0
    _server: ThreadingHTTPServer | None = None
    _let: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> CollectorServer:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests += 1
                collector.paths.add(self.path)
                if collector.hangs:
                    collector._let.wait(60)
                if collector.status == 200:
                    packed = self.headers.get("Content-Encoding") == "gzip"
                    collector.raw.append(gzip.decompress(body) if packed else body)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._let.set()
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[Seen]:
        """All that came so far."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found = []
        for body in list(self.raw):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {item.key: item.value.string_value for item in resource.resource.attributes}
                for scope in resource.scope_spans:
                    found += [_seen(span, about.get("recado.process", "")) for span in scope.spans]
        return found

    def until(self, what: Callable[[list[Seen]], bool], timeout_s: float = 60.0) -> list[Seen]:
        """The spans, once that is so of them."""
        deadline = time.monotonic() + timeout_s
        while not what(found := self.spans()):
            assert time.monotonic() < deadline, [(one.name, one.trace, one.process) for one in found]
            time.sleep(0.05)
        return found


def _seen(span: Any, process: str) -> Seen:
    return Seen(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        process=process,
        failed=span.status.code == 2,
        took_s=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        attributes={item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes},
    )
