"""Traces: which are sent, that nothing waits for a collector, and that without being asked nothing is there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from recado import telemetry, tracing
from recado.errors import SettingsError
from recado.ids import new_id
from recado.tracing import export, journey
from tests.collector import CollectorServer

OTEL = (
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"),
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SERVICE_NAME"),
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OTEL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    telemetry.configure(format="json", level="INFO")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorServer]:
    with CollectorServer() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server


def sampling(monkeypatch: pytest.MonkeyPatch, name: str, share: str | None = None) -> Any:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    if share is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
    return tracing.sampler()


@pytest.mark.parametrize("share", ["0.01", "0.1", "0.6", "0.9"])
def test_of_messages_ids_such_a_share_is_sent(share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which = sampling(monkeypatch, "parentbased_traceidratio", share)
    number = 40_000
    found = sum(which(new_id()) for _ in range(number)) / number
    bound = 5 * (float(share) * (1 - float(share)) / number) ** 0.5
    assert abs(found - float(share)) < bound


def test_what_a_smaller_share_has_a_larger_one_has_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [new_id() for _ in range(2000)]
    few = {one for one in ids if sampling(monkeypatch, "traceidratio", "0.05")(one)}
    many = {one for one in ids if sampling(monkeypatch, "traceidratio", "0.5")(one)}
    assert few
    assert few < many


@pytest.mark.parametrize(
    ("name", "share", "sent"),
    [
        ("always_on", None, True),
        ("parentbased_always_on", None, True),
        ("always_off", None, False),
        ("parentbased_always_off", None, False),
        ("traceidratio", "0", False),
        ("traceidratio", "1", True),
        ("traceidratio", None, True),
    ],
)
def test_the_standard_samplers_do_what_they_say(
    name: str, share: str | None, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = sampling(monkeypatch, name, share)
    assert {which(new_id()) for _ in range(200)} == {sent}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "many"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ],
)
def test_a_wrong_variable_stops_the_start_and_is_named(
    name: str, value: str, collector: CollectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: ") as refused, tracing.sending("api"):
        pass
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "  "},
    ],
)
def test_where_nobody_asks_nothing_is_sent(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with tracing.sending("api") as sent:
        assert not sent
        assert not tracing.on()
        tracing.write(new_id(), tracing.ROOT, took_s=1)
        with tracing.span(new_id(), "model"), tracing.inside("tool"):
            assert tracing.instrumentation() is None


def test_where_nobody_asks_nothing_of_the_sdk_is_loaded() -> None:
    code = """
import os, sys
for name in list(os.environ):
    if name.startswith("OTEL_"):
        del os.environ[name]
import recado.app, recado.worker, recado.cli.run
from recado.cli.observed import observed
from recado.settings import load
with observed(load(_env_file=None), "worker"):
    print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[]"


def test_without_the_extra_a_line_says_what_to_install(
    collector: CollectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "recado.tracing.export", raising=False)
    monkeypatch.delattr(tracing, "export", raising=False)
    with pytest.raises(SettingsError, match=r"pip install '\.\[otel\]'") as refused, tracing.sending("api"):
        pass
    assert "\n" not in str(refused.value)


def test_a_span_arrives_under_its_parent_with_the_messages_id_as_its_trace(collector: CollectorServer) -> None:
    message = new_id()
    with tracing.sending("worker"):
        tracing.write(message, ("answer", message), took_s=2.0, attributes={"model": "m", "code": None})
        with tracing.span(message, "model", parent=("answer", message)), tracing.inside("tool x"):
            pass
    found = {one.name: one for one in collector.spans()}
    assert collector.paths == {"/v1/traces"}
    assert {one.trace for one in found.values()} == {message.hex}
    answer = found["answer"]
    assert answer.parent == f"{tracing.span_id(message, *tracing.ROOT):016x}"
    assert (answer.attributes, answer.process) == ({"recado.model": "m"}, "worker")
    assert 1.9 < answer.took_s < 2.1
    assert found["model"].parent == answer.id
    assert found["tool x"].parent == found["model"].id


def test_an_exception_is_named_by_its_class_alone(collector: CollectorServer) -> None:
    with tracing.sending("worker"), pytest.raises(ValueError, match="said by Ana"):  # noqa: SIM117
        with tracing.span(new_id(), "download"):
            raise ValueError("said by Ana")
    [found] = collector.spans()
    assert found.failed
    assert found.attributes == {"error.type": "ValueError"}
    assert b"Ana" not in b"".join(collector.raw)


def test_of_a_librarys_span_only_what_is_on_the_list_is_kept(collector: CollectorServer) -> None:
    from opentelemetry.trace import Status, StatusCode

    message = new_id()
    with tracing.sending("worker"), tracing.span(message, "model"):
        settings = tracing.instrumentation()
        assert (settings.include_content, settings.include_binary_content) == (False, False)
        with settings.tracer.start_as_current_span("chat Ana", record_exception=False) as span:
            span.set_attribute("gen_ai.request.model", "scripted")
            span.set_attribute("gen_ai.operation.name", "chat")
            span.set_attribute("gen_ai.input.messages", "Oi, sou a Ana")
            span.add_event("exception", {"exception.message": "Ana"})
            span.set_status(Status(StatusCode.ERROR, "Ana"))
    found = {one.name: one for one in collector.spans()}
    assert found["chat scripted"].parent == found["model"].id
    assert found["chat scripted"].trace == message.hex
    assert set(found["chat scripted"].attributes) == {"gen_ai.request.model", "gen_ai.operation.name"}
    assert b"Ana" not in b"".join(collector.raw)


def test_a_trace_that_is_not_sent_makes_no_spans_of_libraries(
    collector: CollectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with tracing.sending("worker"), tracing.span(new_id(), "model"):
        assert tracing.instrumentation() is None
    assert collector.requests == 0


def test_a_collector_that_hangs_holds_up_neither_work_nor_the_end(
    collector: CollectorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    collector.hangs = True
    began = time.process_time()
    with tracing.sending("api", close_s=0.2):
        for _ in range(3000):
            tracing.write(new_id(), tracing.ROOT, took_s=0.01)
        spent = time.process_time() - began
        ended = time.monotonic()
    assert spent < 5
    assert time.monotonic() - ended < 10
    assert len(caplog.records) <= 2


def test_a_collector_that_refuses_is_spoken_of_once_in_a_while(
    collector: CollectorServer, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    with tracing.sending("api"):
        for _ in range(5):
            tracing.write(new_id(), tracing.ROOT, took_s=0.01)
            before = collector.requests
            deadline = time.monotonic() + 20
            while collector.requests == before and time.monotonic() < deadline:
                time.sleep(0.01)
    assert collector.requests >= 5
    said = [record for record in caplog.records if "traces_not_taken" in str(record.msg)]
    assert len(said) == 1
    assert all("127.0.0.1" not in str(record.__dict__.get("msg")) for record in caplog.records)


async def test_writing_a_span_never_waits(collector: CollectorServer) -> None:
    collector.hangs = True
    with tracing.sending("api", close_s=0.1):
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        for _ in range(200):
            tracing.write(new_id(), tracing.ROOT, took_s=0.01)
            await asyncio.sleep(0)
        ticking.cancel()
        assert ticks >= 199


def test_the_same_thing_has_the_same_id_in_every_process() -> None:
    message = UUID("018f9f6e-7c1a-7e2b-9f3c-0123456789ab")
    assert tracing.span_id(message, "deliver", message, 1, 1) == tracing.span_id(message, "deliver", message, 1, 1)
    assert tracing.span_id(message, "deliver", message, 1, 1) != tracing.span_id(message, "deliver", message, 1, 2)
    assert 0 < tracing.span_id(message, *tracing.ROOT) < 1 << 64


def test_a_subscriber_without_traces_does_nothing() -> None:
    journey.relate(object())  # type: ignore[arg-type] # not even looked at
    assert export.QUIET_S > 0
