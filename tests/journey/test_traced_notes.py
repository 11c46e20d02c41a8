"""A voice note's trace: fetching it and making text of it stand under the step that understands."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from recado import tracing
from tests.collector import CollectorServer
from tests.journey.test_voice import hearing as hearing
from tests.journey.test_voice import sends
from tests.model_server import ModelServer
from tests.product import Company


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorServer]:
    """A collector that gets what API and worker of this process's product send."""
    with CollectorServer() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with tracing.sending("worker"):
            yield server


def test_a_voice_note_is_one_trace_with_its_download_and_its_transcription(
    company: Company, hearing: ModelServer, collector: CollectorServer
) -> None:
    contact = company.contact()
    sends(contact)
    contact.settled(1)
    question, answer = contact.messages()
    trace = question["id"].hex
    whole = {"receive", "accept", "queue voice", "understand", "download", "transcribe", "queue turns", "answer"}
    whole |= {"deliver", "POST Messages", "confirm"}
    deadline = time.monotonic() + 60
    while not whole <= {one.name for one in collector.spans() if one.trace == trace}:
        assert time.monotonic() < deadline, sorted({one.name for one in collector.spans()})
        time.sleep(0.05)
    spans = [one for one in collector.spans() if one.trace == trace]
    by_name = {one.name: one for one in spans}
    assert by_name["download"].parent == by_name["transcribe"].parent == by_name["understand"].id
    assert answer["correlation_id"] == question["id"]
    raw = b"".join(collector.raw)
    assert b"entrega" not in raw
    assert contact.address.rpartition("+")[2].encode() not in raw
