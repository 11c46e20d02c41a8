"""The measurements end as they went: with 1, and the figures' names, where a target is missed."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench.__main__ import Figure

IDLE = {
    "latency_less_quiet_window_p50_ms": 150.0,
    "idle_cpu_share_of_a_core": 0.05,
    "memory_mb_after_work": 180.0,
}


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any]) -> int:
    monkeypatch.setitem(bench.PARTS, "idle", lambda: figures)
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "idle"])
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
