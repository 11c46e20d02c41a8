"""Traces: what a message went through, as spans that a collector takes by OTLP/HTTP.

A trace's id is the message's own, its correlation id: so processes, crashes and the moment after need no carrier, and
`recado trace` names the same one. The ids of spans follow from what they are of, so parents and children are made in
any order, by whichever process. The standard `OTEL_*` variables say where to and which; without them nothing of
OpenTelemetry is loaded, and nothing is done.

A span holds words of ours, ids and figures. Nothing that people wrote, no name, no address.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib import import_module
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from recado.errors import SettingsError

Kind = Literal["internal", "server", "client", "consumer"]
Value = str | int | float | bool

#: How many bits of a trace's id are random: of a UUIDv7 the rest tells the time, the version and the variant.
RANDOM_BITS: Final = 56
#: The span under which all others of a message stand.
ROOT: Final = ("receive",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a message's journey, in nanoseconds of this machine's clock."""

    trace: UUID
    id: int
    parent: int | None
    name: str
    start_ns: int
    end_ns: int
    failed: bool = False
    kind: Kind = "internal"
    attributes: Mapping[str, Value] = field(default_factory=dict)


class Sink(Protocol):
    """Where spans go: `export.Collector` is the one that there is."""

    def write(self, span: Span) -> None:
        """Have it sent, later and elsewhere; never waits."""
        ...

    def within(self, trace: UUID, span_id: int) -> AbstractContextManager[None]:
        """Around what makes spans of OpenTelemetry's own: they stand under this one."""
        ...

    def instrumentation(self) -> Any:
        """The settings by which pydantic-ai makes its own."""
        ...

    def close(self, within_s: float) -> None:
        """Send what waits, for so long at most."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampled:
    sink: Sink
    samples: Callable[[UUID], bool]


_here: ContextVar[tuple[UUID, int] | None] = ContextVar("recado_span", default=None)
_sampled: _Sampled | None = None


def on() -> bool:
    """Whether this process sends traces at all."""
    return _sampled is not None


def samples(trace: UUID | None) -> bool:
    """Whether this message's trace is sent."""
    return _sampled is not None and trace is not None and _sampled.samples(trace)


def span_id(trace: UUID, *of: object) -> int:
    """The id of the message's span of that: the same in every process, and whoever makes it again."""
    text = "/".join(map(str, of))
    return int.from_bytes(blake2b(trace.bytes + text.encode(), digest_size=8).digest(), "big") or 1


def write(
    trace: UUID | None,
    of: tuple[object, ...],
    *,
    took_s: float,
    name: str | None = None,
    parent: tuple[object, ...] | None = ROOT,
    end_ns: int | None = None,
    failed: bool = False,
    kind: Kind = "internal",
    attributes: Mapping[str, Value | None] | None = None,
) -> None:
    """A span of what has just ended, or ended at `end_ns`, after `took_s`; `of` is what it is of, its id."""
    if _sampled is None or trace is None or not _sampled.samples(trace):
        return
    end = time.time_ns() if end_ns is None else end_ns
    _sampled.sink.write(
        Span(
            trace=trace,
            id=span_id(trace, *of),
            parent=None if parent is None else span_id(trace, *parent),
            name=name or str(of[0]),
            start_ns=end - max(0, round(took_s * 1e9)),
            end_ns=end,
            failed=failed,
            kind=kind,
            attributes=attributes_of(attributes or {}),
        )
    )


@contextmanager
def span(
    trace: UUID | None,
    name: str,
    *,
    parent: tuple[object, ...] = ROOT,
    kind: Kind = "internal",
    **attributes: Value | None,
) -> Iterator[None]:
    """A span of what is done while this is open; an exception makes it a failed one, and is named by its class."""
    if _sampled is None or trace is None or not _sampled.samples(trace):
        yield
        return
    with _live(_sampled.sink, trace, name, span_id(trace, *parent), kind, attributes):
        yield


@contextmanager
def inside(name: str, *, kind: Kind = "internal", **attributes: Value | None) -> Iterator[None]:
    """The same beneath the span that is open here; nothing where none is."""
    here = _here.get()
    if _sampled is None or here is None:
        yield
        return
    with _live(_sampled.sink, here[0], name, here[1], kind, attributes):
        yield


@contextmanager
def _live(
    sink: Sink, trace: UUID, name: str, parent: int, kind: Kind, attributes: Mapping[str, Value | None]
) -> Iterator[None]:
    own = int.from_bytes(os.urandom(8), "big") or 1
    token = _here.set((trace, own))
    began, start = time.perf_counter_ns(), time.time_ns()
    error: str | None = None
    try:
        with sink.within(trace, own):
            yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        _here.reset(token)
        sink.write(
            Span(
                trace=trace,
                id=own,
                parent=parent,
                name=name,
                start_ns=start,
                end_ns=start + time.perf_counter_ns() - began,
                failed=error is not None,
                kind=kind,
                attributes=attributes_of({**attributes, "error.type": error}),
            )
        )


def attributes_of(given: Mapping[str, Value | None]) -> dict[str, Value]:
    """A span's attributes: names of ours begin with `recado.`, and what is not known is left out."""
    return {
        name if "." in name else f"recado.{name}": value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in given.items()
        if value is not None
    }


def instrumentation() -> Any:
    """How pydantic-ai is to make its own spans in what is done here; None: not at all."""
    return None if _sampled is None or _here.get() is None else _sampled.sink.instrumentation()


def asked() -> bool:
    """Whether the environment asks for traces: it names a collector, or says that it wants the standard one."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter not in ("", "none", "otlp"):
        raise SettingsError("OTEL_TRACES_EXPORTER: must be otlp or none")
    named = any(
        os.environ.get(name, "").strip()
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )
    return exporter == "otlp" or (named and exporter != "none")


def sampler() -> Callable[[UUID], bool]:
    """Which traces are sent, by OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. Raises SettingsError.

    A share is by the random bits of the id alone, as OpenTelemetry's consistent sampling does: every process, and a
    collector that samples on, decides alike.
    """
    name = (os.environ.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on").strip().lower()
    kind = name.removeprefix("parentbased_")  # nothing that comes in is a part of anybody's trace
    if kind == "always_on":
        return lambda _: True
    if kind == "always_off":
        return lambda _: False
    if kind != "traceidratio":
        raise SettingsError("OTEL_TRACES_SAMPLER: must be always_on, always_off or traceidratio, also parentbased_")
    try:
        share = float(os.environ.get("OTEL_TRACES_SAMPLER_ARG") or "1")
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise SettingsError("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1")
    threshold = round((1.0 - share) * (1 << RANDOM_BITS))
    return lambda trace: trace.int & ((1 << RANDOM_BITS) - 1) >= threshold


def check() -> None:
    """Raise SettingsError when a variable asks for what is not done, or the extra is missing."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(name, "").strip() not in ("", "http/protobuf"):
            raise SettingsError(f"{name}: must be http/protobuf")
    try:
        import_module("recado.tracing.export")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT: traces need the extra otel ({error.name} is missing): "
            "pip install '.[otel]', or unset it"
        ) from None


@contextmanager
def sending(process: str, *, close_s: float = 1.5) -> Iterator[bool]:
    """Send this process's spans while this is open, if the environment asks for it; answers whether it does.

    At the end what waits is sent within `close_s`, or given up. Raises SettingsError, before anything is sent.
    """
    global _sampled
    if not asked():
        yield False
        return
    which = sampler()
    check()
    from recado.tracing.export import Collector

    sink: Sink = Collector(process)
    _sampled = _Sampled(sink=sink, samples=which)
    try:
        yield True
    finally:
        _sampled = None
        sink.close(close_s)


def now_ns() -> int:
    """The present moment, as spans have it."""
    return time.time_ns()
