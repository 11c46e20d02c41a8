"""The metrics: what each may say, that there is an end to them, and that nothing personal can come into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from recado import metrics
from recado.assistants import failures
from recado.channels.port import ErrorClass
from recado.channels.twilio.codes import CODES
from recado.conversations.holding import HeldFor
from recado.db import work
from recado.media import download, transcription
from recado.metrics import families, owned
from recado.metrics.families import Family, Level, Values, counter, level, one_of

#: Every metric's labels. A new label comes here first, and is asked whether it can hold anything personal.
LABELS: Mapping[str, tuple[str, ...]] = {
    "recado_webhook_seconds": ("route", "outcome"),
    "recado_step_seconds": ("step", "outcome"),
    "recado_reply_seconds": (),
    "recado_queue_wait_seconds": ("queue",),
    "recado_delivery_seconds": ("status",),
    "recado_delivery_failures_total": ("code",),
    "recado_tries_total": ("operation", "error_class"),
    "recado_turns_total": ("outcome",),
    "recado_model_tokens_total": ("model", "type"),
    "recado_model_cost_usd_total": ("model",),
    "recado_limited_total": ("limit",),
    "recado_commit_batches_total": ("door",),
    "recado_commit_rows_total": ("door",),
    "recado_commit_failures_total": ("door",),
    "recado_commit_waiting": ("door", "lane"),
    "recado_work_running": ("queue",),
    "recado_executor_deaths_total": (),
    "recado_pool_connections": ("pool", "state"),
    "recado_pool_waiting": ("pool",),
    "recado_pool_wait_seconds_total": ("pool",),
    "recado_event_loop_lag_seconds": ("of",),
    "recado_event_loop_late_total": (),
    "recado_gc_seconds_total": (),
    "recado_gc_runs_total": (),
    "recado_clock_skew_seconds": (),
    "recado_live_workers": ("queue",),
    "recado_can_answer": (),
    "recado_build_info": ("version", "workflows", "schema"),
    "recado_gauges_up": (),
    "recado_queue_depth": ("queue",),
    "recado_queue_oldest_seconds": ("queue",),
    "recado_held": ("reason",),
    "recado_database_xmin_age": (),
    "recado_database_xid_age": (),
    "recado_database_dead_rows": ("table",),
    "recado_database_connections": ("of",),
}
#: Labels whose values are no closed list, and what they may look like all the same.
OPEN = {"code", "model", "version", "workflows", "schema"}

PERSONAL = (
    "whatsapp:+5511998765432",
    "+5511998765432",
    "5511998765432",
    "ana@padaria.example",
    "Ana Marcada",
    "openai:Ana Marcada",
    "Olá, quero cancelar o meu pedido",
    "BR.13491208655302741918",
    "018f9f6e-7c1a-7e2b-9f3c-0123456789ab",
    "AC" + "a" * 32,
    "x\ny",
    'x"} 1\nrecado_held{reason="',
    "openai:" + "g" * 80,
    "",
)


def names() -> dict[str, Family | Level]:  # type: ignore[type-arg]
    return {one.spec.name: one for one in metrics.ALL}


def test_every_metric_has_the_labels_that_are_written_down_here() -> None:
    assert {name: tuple(one.spec.labels) for name, one in names().items()} == LABELS


def test_every_label_is_a_closed_list_but_for_those_that_are_known() -> None:
    open_ones = {
        label for one in metrics.ALL for label, values in one.spec.labels.items() if values.pattern is not None
    }
    assert open_ones == OPEN
    assert all(values.most <= 40 for one in metrics.ALL for values in one.spec.labels.values())


@pytest.mark.parametrize("said", PERSONAL)
def test_what_is_personal_comes_into_no_label(said: str) -> None:
    for one in metrics.ALL:
        bounded = families._Bounded(one.spec.labels)
        assert set(bounded((said,) * len(one.spec.labels))) <= {families.OTHER}, one.spec.name


@given(st.lists(st.text(max_size=80), min_size=30, max_size=60))
def test_whatever_is_given_there_is_an_end_to_the_series(given_models: list[str]) -> None:
    counted = counter(
        "recado_x_total", "x", bound=(), model=Values(pattern=re.compile(r"[a-z]+"), most=3), type=one_of("a")
    )
    for model in [*given_models, *"abcdefgh"]:
        counted(model, "a").inc()
    samples = [sample for metric in counted.collect() for sample in metric.samples]
    assert len(samples) <= 4
    assert sum(sample.value for sample in samples) == len(given_models) + 8


def test_what_falls_together_as_other_is_counted_together() -> None:
    counted = counter("recado_x_total", "x", reason=one_of("limit"))
    for reason in ("limit", "Ana", "Rui", "limit"):
        counted(reason).inc()
    shown = families.page([counted]).decode()
    assert 'recado_x_total{reason="limit"} 2.0' in shown
    assert 'recado_x_total{reason="other"} 2.0' in shown


def _most(values: Values) -> int:
    return len(values.known) + values.most + 1


def _lines(one: Family | Level, *, all_of_it: bool) -> int:  # type: ignore[type-arg]
    each = 1
    if one.spec.kind == "histogram":
        each = len(one._whole._upper_bounds) + 2  # type: ignore[union-attr]
    series = 1
    for values in one.spec.labels.values():
        series *= _most(values) if all_of_it else len(values.known)
    return each * series


def everything_happens(role: metrics.Role) -> None:
    """Count all that the product can come to count in a process, and too much of what is bounded."""
    metrics.begin(role)
    steps = {"api": ("receive", "accept", "confirm"), "worker": ("understand", "answer", "deliver")}[role]
    for step in steps:
        for outcome in ("done", "again", "failed"):
            metrics.STEP_SECONDS(step, outcome).observe(1)
    for code in (*CODES, 12345, "none"):
        metrics.DELIVERY_FAILURES(str(code)).inc()
    if role == "worker":
        for number in range(60):
            for kind in ("input", "output"):
                metrics.MODEL_TOKENS(f"openai:model-{number}", kind).inc()
            metrics.MODEL_COST(f"openai:model-{number}").inc()
        for operation, classes in failures_of().items():
            for one in classes:
                metrics.TRIES(operation, one).inc()


def failures_of() -> dict[str, set[str]]:
    return {
        "send": {one.value for one in ErrorClass},
        "model": set(get_args(failures.Reason)),
        "download": {*get_args(download.Refusal), *get_args(download.Absence), "account"},
        "transcribe": {*get_args(transcription.Failure)},
    }


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_process_has_fewer_than_400_series_whatever_happens(role: metrics.Role) -> None:
    everything_happens(role)
    counted = [one for one in metrics.of_role(role) if isinstance(one, Family)]
    lines = [
        sample
        for metric in text_string_to_metric_families(families.page(counted).decode())
        for sample in metric.samples
        # In one process of the product a step is of the one role or of the other.
        if sample.labels.get("step", "deliver" if role == "worker" else "accept")
        in (("receive", "accept", "confirm") if role == "api" else ("understand", "answer", "deliver"))
    ]
    levels = sum(_lines(one, all_of_it=False) for one in metrics.of_role(role) if isinstance(one, Level))
    processes = 6
    assert len(lines) + levels + processes < 400


def test_what_the_product_says_of_failures_is_on_the_metrics_lists() -> None:
    known = set(metrics.TRIES.spec.labels["error_class"].known)
    assert set().union(*failures_of().values()) <= known
    assert set(metrics.HELD.spec.labels["reason"].known) == set(get_args(HeldFor))
    assert set(owned.HELD.labels["reason"].known) == set(get_args(HeldFor))
    assert set(metrics.QUEUE_DEPTH.spec.labels["queue"].known) == {
        work.TURNS,
        work.DELIVERIES,
        work.MEDIA,
        work.VOICE,
    }
    bounded = families._Bounded(
        {"code": Values(pattern=metrics.DELIVERY_FAILURES.spec.labels["code"].pattern, most=999)}
    )
    assert {bounded((str(code),)) for code in CODES} == {(str(code),) for code in CODES}


def test_a_value_that_nobody_renews_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(families.time, "monotonic", lambda: now)
    shown = level("recado_x", "x", keep_s=60.0, queue=one_of("turns"))
    shown.set({("turns",): 7.0})
    assert b'recado_x{queue="turns"} 7.0' in families.page([shown])
    now += 61
    assert b"recado_x{" not in families.page([shown])
    shown.set({("turns",): 7.0})
    shown.forget()
    assert b"recado_x{" not in families.page([shown])


def test_a_series_is_at_0_before_anything_has_happened() -> None:
    fresh = counter("recado_x_total", "x", at=("worker",), outcome=one_of("answered"))
    assert b"recado_x_total{" not in families.page([fresh])
    fresh.begin("api")
    assert b"recado_x_total{" not in families.page([fresh])
    fresh.begin("worker")
    assert b'recado_x_total{outcome="answered"} 0.0' in families.page([fresh])
