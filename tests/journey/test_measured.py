"""The journey's metrics: what happened is counted, once, with the words and figures that dashboards ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from recado import metrics
from recado.channels.port import ErrorClass
from recado.ids import age_s, new_id
from recado.metrics import families, journey
from recado.told import REFUSED
from tests.journey.conftest import MODEL
from tests.model_server import ModelServer, Reply, Request
from tests.product import INBOUND, Company, Product


def now() -> dict[tuple[str, frozenset[str]], float]:
    """All that was counted in this process: by name and labels' values."""
    page = families.page(metrics.ALL).decode()
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


class Since:
    """What was counted since this was made."""

    def __init__(self) -> None:
        self._before = now()

    def __call__(self, name: str, *labels: str) -> float:
        which = (name, frozenset(labels))
        return now().get(which, 0.0) - self._before.get(which, 0.0)


def until(what: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_question_that_is_answered_and_read_is_counted_at_each_step(
    product: Product, model_server: ModelServer
) -> None:
    tries = 0

    def script(_: Request) -> Reply:
        nonlocal tries
        tries += 1
        return Reply(status=503, error="busy") if tries == 1 else Reply(text="Das 7h às 20h.")

    model_server.script = script
    contact = product.company(model=MODEL).contact()
    since = Since()
    contact.says("Que horas abrem?")
    contact.settled(1)
    until(lambda: since("recado_delivery_seconds_count", "delivered") >= 1)
    assert since("recado_webhook_seconds_count", "inbound", "accepted") >= 1
    assert since("recado_webhook_seconds_count", "outbound", "accepted") >= 1
    for step in ("receive", "accept", "answer", "deliver", "confirm"):
        assert since("recado_step_seconds_count", step, "done") >= 1, step
    assert since("recado_queue_wait_seconds_count", "turns") >= 1
    assert since("recado_queue_wait_seconds_count", "deliveries") >= 1
    assert 0 < since("recado_queue_wait_seconds_sum", "deliveries") < 60
    assert since("recado_turns_total", "answered") >= 1
    assert since("recado_tries_total", "model", "unavailable") >= 1
    assert since("recado_tries_total", "model", "none") >= 1
    assert since("recado_tries_total", "send", "none") >= 1
    assert since("recado_model_tokens_total", MODEL, "input") > 0
    assert since("recado_model_tokens_total", MODEL, "output") > 0
    assert since("recado_reply_seconds_count") >= 1
    assert 0 < since("recado_reply_seconds_sum") < 60
    assert since("recado_commit_rows_total", "accept") >= since("recado_commit_batches_total", "accept") >= 1


def test_what_twilio_refuses_is_counted_with_its_class_and_for_good_with_its_code(company: Company) -> None:
    contact = company.contact()
    since = Since()
    contact.fault(operation="create", http_status=429, code=20429, retry_after_s=0.05, count=1)
    contact.says("Oi")
    contact.settled(1)
    assert since("recado_tries_total", "send", "retry") == 1
    assert since("recado_step_seconds_count", "deliver", "again") == 1
    assert since("recado_delivery_failures_total", "20429") == 0
    contact.fault(operation="create", http_status=400, code=21211, count=1)
    contact.says("Alô")
    until(lambda: since("recado_delivery_failures_total", "21211") == 1)
    assert since("recado_tries_total", "send", "recipient") == 1
    assert since("recado_step_seconds_count", "deliver", "failed") == 1


def test_a_webhook_that_is_refused_is_counted_as_such(product: Product) -> None:
    since = Since()
    company = product.company()
    answer = httpx2.post(product.base_url + INBOUND, data={"AccountSid": company.account_sid, "Body": "x"})
    assert answer.status_code == 403
    until(lambda: since("recado_webhook_seconds_count", "inbound", "refused") == 1)
    assert since("recado_step_seconds_count", "accept", "done") == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    step: str
    what: str
    message_id: UUID | None = None
    correlation_id: UUID | None = None
    duration_s: float | None = 0.5
    age_s: float | None = 2.0
    details: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        (Told(step="understand", what="not_understood"), ("recado_step_seconds_count", "understand", "failed")),
        (Told(step="understand", what="transcribed"), ("recado_step_seconds_count", "understand", "done")),
        (Told(step="answer", what="apology"), ("recado_step_seconds_count", "answer", "failed")),
        (Told(step="answer", what="loop"), ("recado_turns_total", "loop")),
        (Told(step="deliver", what="unknown"), ("recado_step_seconds_count", "deliver", "again")),
        (
            Told(step="deliver", what="content", details={"then": "fail", "code": None}),
            ("recado_delivery_failures_total", "none"),
        ),
        (
            Told(step="confirm", what="confirmed", details={"status": "undelivered", "moved": True, "code": 63016}),
            ("recado_delivery_failures_total", "63016"),
        ),
        (
            Told(step="confirm", what="confirmed", message_id=new_id(), details={"status": "read", "moved": True}),
            ("recado_delivery_seconds_count", "read"),
        ),
    ],
    ids=lambda value: f"{value.step}-{value.what}" if isinstance(value, Told) else None,
)
def test_what_happens_is_counted_as_what_it_is(told: Told, counted: tuple[str, ...]) -> None:
    since = Since()
    journey.measure(told)
    assert since(*counted) == 1


@pytest.mark.parametrize(
    "told",
    [
        Told(step="confirm", what="confirmed", details={"status": "failed", "moved": False, "code": 30001}),
        Told(step="deliver", what="window_closed"),
        Told(step="answer", what="taken"),
        Told(step="receive", what="rejected"),
        Told(step="usage", what="budget_soft"),
        Told(step="confirm", what="anything new", details={"status": "failed", "moved": True}),
    ],
    ids=lambda told: f"{told.step}-{told.what}",
)
def test_what_is_no_news_fails_nothing(told: Told) -> None:
    since = Since()
    journey.measure(told)
    for code in ("30001", "none"):
        assert since("recado_delivery_failures_total", code) == 0
    assert since("recado_turns_total", told.what) == 0


def test_every_class_of_a_refusal_is_counted() -> None:
    assert set(REFUSED) == {one.value for one in ErrorClass}


def test_what_is_sent_without_being_a_reply_is_none() -> None:
    since, alone = Since(), new_id()
    journey.measure(Told(step="deliver", what="sent", message_id=alone, correlation_id=alone, details={"part": 1}))
    journey.measure(Told(step="deliver", what="sent", message_id=alone, correlation_id=new_id(), details={"part": 2}))
    assert since("recado_reply_seconds_count") == 0
    journey.measure(Told(step="deliver", what="sent", message_id=alone, correlation_id=new_id(), details={"part": 1}))
    assert since("recado_reply_seconds_count") == 1


def test_an_id_tells_how_long_ago_it_was_made() -> None:
    assert 0 <= (age_s(new_id()) or 0) < 5
    assert age_s(UUID("018f0000-0000-7000-8000-000000000000")) > 10**6  # type: ignore[operator]
    assert age_s(UUID("c0ffee00-0000-4000-8000-000000000000")) is None
