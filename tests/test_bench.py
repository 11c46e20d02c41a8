"""The measurements end as they went: with 1, and the figures' names, where a target is missed."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import pairs
from bench.__main__ import Figure

IDLE = {
    "answer_p50_to_quiet_window": 1.12,
    "idle_in_bare_requests_a_second": 200.0,
    "latency_less_quiet_window_p50_ms": 150.0,
    "idle_cpu_share_of_a_core": 0.05,
    "memory_mb_after_work": 180.0,
}


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any], *, part: str = "idle") -> int:
    monkeypatch.setitem(bench.PARTS, part, lambda: figures)
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", part])
    try:
        bench.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_it_ends_with_0_when_every_target_is_met(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, IDLE) == 0
    said = capsys.readouterr()
    assert "MISSED" not in said.out
    assert "missed" not in said.err


def test_it_ends_with_1_and_names_what_missed_and_keeps_the_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, IDLE | {"memory_mb_after_work": 251.0}) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "bench: missed: memory of `recado serve`, MB"
    assert [line for line in said.out.splitlines() if line.endswith("MISSED")] == [
        f"{'memory of `recado serve`, MB':<58} {251.0:>9}   (at most 250)   MISSED"
    ]
    (kept,) = tmp_path.iterdir()
    assert json.loads(kept.read_text())["idle"]["memory_mb_after_work"] == 251.0


@pytest.mark.parametrize(
    ("value", "least", "most", "missed"),
    [
        (40, 40, None, False),
        (39.9, 40, None, True),
        (40, None, 40, False),
        (40.1, None, 40, True),
        (-5, None, 0, False),
        (1, None, 0, True),
        (7, None, None, False),
        (math.nan, 1, None, True),
    ],
)
def test_a_target_is_met_at_its_bound(value: float, least: float | None, most: float | None, missed: bool) -> None:
    assert Figure("it", value, least, most).missed is missed


def measured(log: list[str], name: str, *rates: float) -> Callable[[], dict[str, float]]:
    left = iter(rates)

    def measure() -> dict[str, float]:
        log.append(name)
        return {"rate": next(left)}

    return measure


def test_a_pair_is_the_baseline_and_then_ours_and_so_on_in_turn() -> None:
    order: list[str] = []
    pairs.in_turn(measured(order, "A", 1, 1, 1), measured(order, "B", 1, 1, 1), times=3)
    assert "".join(order) == "ABABAB"


async def test_in_one_event_loop_they_are_taken_in_turn_too() -> None:
    order: list[str] = []
    first, second = measured(order, "A", 2, 4), measured(order, "B", 1, 1)

    async def baseline() -> dict[str, float]:
        await asyncio.sleep(0)
        return first()

    async def ours() -> dict[str, float]:
        return second()

    found = await pairs.in_turn_async(baseline, ours, times=2)
    assert "".join(order) == "ABAB"
    assert pairs.ratio(found, "rate") == 0.375


def test_the_median_of_the_pairs_ratios_is_quoted_not_the_ratio_of_the_medians() -> None:
    # The ratio of the medians would be 0.25.
    found = pairs.in_turn(measured([], "A", 100, 400, 200), measured([], "B", 50, 40, 100), times=3)
    assert pairs.ratio(found, "rate") == 0.5
    assert found["ratio"]["rate"] == {"median": 0.5, "least": 0.1, "most": 0.5}


def test_absolute_figures_of_every_pair_are_kept_beside_the_ratios() -> None:
    found = pairs.compared([({"rate": 3.0, "bare": 1}, {"rate": 6.0}), ({"rate": 5.0, "bare": 2}, {"rate": 5.0})])
    assert (found["baseline"], found["ours"]) == ({"rate": 4.0, "bare": 1.5}, {"rate": 5.5})
    assert found["pairs"][1] == [{"rate": 5.0, "bare": 2}, {"rate": 5.0}]
    assert list(found["ratio"]) == ["rate"]


def test_one_that_was_lost_in_one_pair_is_counted_though_its_median_is_none() -> None:
    found = pairs.compared([({"lost": 0}, {"lost": lost}) for lost in (0, 0, 1)])
    assert found["ours"]["lost"] == 0
    assert pairs.total(found, "lost") == 1


def test_a_baseline_of_nothing_meets_no_target_and_nothing_on_both_sides_has_no_ratio() -> None:
    found = pairs.compared([({"rate": 0.0, "failed": 0}, {"rate": 5.0, "failed": 0})])
    assert Figure("it", pairs.ratio(found, "rate"), least=0.1).missed
    assert "failed" not in found["ratio"]


@pytest.mark.parametrize(("ours_ms", "code"), [((4, 4, 40), 1), ((1.5, 40, 1.5), 0)])
def test_a_median_ratio_beyond_its_target_ends_it_with_1_whatever_the_absolute_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours_ms: tuple[float, ...], code: int
) -> None:
    found = pairs.compared([({"round_ms": 1.0}, {"round_ms": ms}) for ms in ours_ms])
    assert run(monkeypatch, tmp_path, found, part="held") == code
    slow = pairs.compared([({"round_ms": 9_000.0}, {"round_ms": 9_000.0 * ms}) for ms in ours_ms])
    assert run(monkeypatch, tmp_path, slow, part="held") == code


def test_the_ratios_of_ack_decide_and_a_webhook_that_failed() -> None:
    def ack(rate: float, *, failed: int = 0) -> dict[str, Any]:
        bare = {"rate": 1000.0, "failed": 0, "p50_ms": 1.0, "p99_ms": 1.0, "cpu_us": 100.0}
        one = pairs.compared([(bare, {**bare, "rate": rate, "failed": failed})])
        return {"ack": dict.fromkeys(("at_1", "at_16", "at_64", "to_raw_commits", "limits"), one)}

    def missed(figures: dict[str, Any]) -> list[str]:
        return [figure.what for figure in bench.summary(figures) if figure.missed]

    assert missed(ack(900.0)) == []
    assert missed(ack(900.0, failed=1)) == ["webhooks that were not answered 200"]
    assert "ack, rate at 16 connections to the bare route's" in missed(ack(200.0))
