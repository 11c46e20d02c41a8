"""The way to the collector: OpenTelemetry's batch processor and its exporter, in threads of theirs.

A collector that is slow or away costs memory up to the processor's queue (`OTEL_BSP_MAX_QUEUE_SIZE`) and nothing else:
spans that do not fit are dropped, and a line a minute says so. Imported where traces are asked for, and nowhere else.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import structlog
from opentelemetry import context as contexts
from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from recado import __version__
from recado.tracing import Span

log = structlog.get_logger("recado")

_SCOPE: Final = InstrumentationScope("recado", __version__)
_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
}
#: It is said at most so often that spans are not taken.
QUIET_S: Final = 60.0
#: What a library's span keeps. Everything else may hold what was said, the texts of its errors among it.
_KEPT: Final = frozenset(
    [
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.system",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.tool.name",
        "error.type",
    ]
)


class Collector:
    """Sends this process's spans; a `recado.tracing.Sink`."""

    def __init__(self, process: str) -> None:
        # Its lines hold addresses and what a collector answered; ours say that spans are not taken.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._resource = _resource(process)
        self._processor = BatchSpanProcessor(_Quiet(OTLPSpanExporter()))
        self._provider = TracerProvider(
            resource=self._resource, sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False
        )
        self._provider.add_span_processor(_Bare(self._processor, self._resource))
        self._settings: Any = None

    def write(self, span: Span) -> None:
        """Queue it; what does not fit is dropped."""
        self._processor.on_end(readable(span, self._resource))

    @contextmanager
    def within(self, trace: UUID, span_id: int) -> Iterator[None]:
        """Spans of libraries that are made meanwhile stand under this one."""
        token = contexts.attach(otel.set_span_in_context(NonRecordingSpan(_context(trace, span_id))))
        try:
            yield
        finally:
            contexts.detach(token)

    def instrumentation(self) -> Any:
        """pydantic-ai's settings: spans without what was said."""
        if self._settings is None:
            from pydantic_ai.models.instrumented import InstrumentationSettings

            self._settings = InstrumentationSettings(
                tracer_provider=self._provider,
                meter_provider=NoOpMeterProvider(),
                include_content=False,
                include_binary_content=False,
                include_model_request_parameters=False,
            )
        return self._settings

    def close(self, within_s: float) -> None:
        """Send what waits, for so long at most; what hangs is a daemon's."""
        closing = threading.Thread(target=self._processor.shutdown, daemon=True, name="traces-closing")
        closing.start()
        closing.join(within_s)


def send(spans: Sequence[Span], process: str) -> bool:
    """Send these now, and wait for it; whether the collector took them."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter()
    resource = _resource(process)
    try:
        return exporter.export([readable(span, resource) for span in spans]) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


def readable(span: Span, resource: Resource) -> ReadableSpan:
    """The span as OpenTelemetry has it."""
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace, span.id),
        parent=None if span.parent is None else _context(span.trace, span.parent),
        resource=resource,
        attributes=dict(span.attributes),
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(trace: UUID, span_id: int) -> SpanContext:
    return SpanContext(trace.int, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _resource(process: str) -> Resource:
    own: dict[str, Any] = {"service.version": __version__, "recado.process": process}
    if not (os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")):
        own["service.name"] = "recado"
    return Resource.create(own)


class _Quiet(SpanExporter):
    """An exporter that says once in a while that it does not get through."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._said_at = -QUIET_S
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; an error is no exception, as the processor would print it."""
        kind = "refused"
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            result, kind = SpanExportResult.FAILURE, type(error).__name__
        if result is not SpanExportResult.SUCCESS:
            self._lost += len(spans)
            now = time.monotonic()
            if now - self._said_at >= QUIET_S:
                log.warning("traces_not_taken", count=self._lost, error=kind)
                self._said_at, self._lost = now, 0
        return result

    def shutdown(self) -> None:
        """Stop trying."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here."""
        return True


class _Bare(SpanProcessor):
    """Takes from a library's span all but what is on the list, and hands it on."""

    def __init__(self, processor: BatchSpanProcessor, resource: Resource) -> None:
        self._processor = processor
        self._resource = resource

    def on_end(self, span: ReadableSpan) -> None:
        """Hand on a copy without texts: no events, no status message, attributes of the list, a name made of those."""
        kept = {name: value for name, value in (span.attributes or {}).items() if name in _KEPT}
        what = kept.get("gen_ai.operation.name", "model")
        of = kept.get("gen_ai.tool.name") or kept.get("gen_ai.request.model") or ""
        self._processor.on_end(
            ReadableSpan(
                name=f"{what} {of}".strip(),
                context=span.get_span_context(),
                parent=span.parent,
                resource=self._resource,
                attributes=kept,
                kind=span.kind,
                status=Status(span.status.status_code),
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )
        )
