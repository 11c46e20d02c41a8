"""`make bench`: measures the product beside a baseline in the same run, prints ratios, writes JSON.

It ends with 1 when a figure misses its target, and names it.

`python -m bench [ack] [turns] [idle] [flood] [fair] [hostile] [media] [voice] [million] [knowledge]` measures some
of it.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ack, fair, flood, hostile, idle, knowledge, media, million, turns, voice

RESULTS = Path(__file__).parent / "results"
PARTS = {
    "ack": ack.measure,
    "turns": turns.measure,
    "idle": idle.measure,
    "flood": flood.measure,
    "fair": fair.measure,
    "hostile": hostile.measure,
    "media": media.measure,
    "voice": voice.measure,
    "million": million.measure,
    "knowledge": knowledge.measure,
}


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        print(f"bench: no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        sys.exit(2)
    figures: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures[name] = PARTS[name]()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))
    measured = summary(figures)
    for figure in measured:
        print(figure)
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    if missed := [figure.what for figure in measured if figure.missed]:
        print(f"bench: missed: {'; '.join(missed)}", file=sys.stderr)
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure beside its target: at least `least`, at most `most`; without either it is only shown."""

    what: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def missed(self) -> bool:
        """Whether it has a target and is not there; what could not be measured (NaN) is not there."""
        return not ((self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most))

    def __str__(self) -> str:
        bounds = (("at least", self.least), ("at most", self.most))
        target = ", ".join(f"{word} {bound}" for word, bound in bounds if bound is not None) or "-"
        return f"{self.what:<58} {self.value:>9}   ({target}){'   MISSED' if self.missed else ''}"


def summary(figures: dict[str, Any]) -> list[Figure]:
    """The figures that have a target, each beside it."""
    found: list[Figure] = []

    def figure(what: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
        found.append(Figure(what, value, least, most))

    if part := figures.get("ack"):
        figure("ack, share of the bare route at 16 connections", part["ratio_to_bare"]["16"], least=0.40)
        figure("ack, share of the bare route at 64 connections", part["ratio_to_bare"]["64"], least=0.50)
        figure("ack, p99 at 16 connections, ms", part["accept"]["16"]["p99_ms"], most=40)
        figure("ack, rate with limits on, share of that with them off", part["limits"]["rate"]["on_to_off"], least=0.85)
        figure("ack, CPU of one with limits on, to that with them off", part["limits"]["cpu_us"]["on_to_off"])
        figure("ack, p50 of a lone request, ms", part["accept"]["1"]["p50_ms"])
        rate = round(part["accept"]["16"]["rate"] / part["raw_commit"]["rate"], 2)
        figure("ack at 16 connections, share of raw single-row commits", rate)
    if part := figures.get("turns"):
        figure("turns a second, instant model", part["instant"]["rate"], least=40)
        figure("turns a second, 2 s model, one worker", part["two_seconds"]["rate"], least=25)
    if part := figures.get("idle"):
        figure("idle latency p50 less the quiet window, ms", part["latency_less_quiet_window_p50_ms"], most=200)
        figure("idle CPU of `recado serve`, share of a core", part["idle_cpu_share_of_a_core"], most=0.06)
        figure("memory of `recado serve`, MB", part["memory_mb_after_work"], most=250)
    if part := figures.get("flood"):
        figure("growth of others' p95 answer time beside a flood", part["answer_p95_growth"], most=0.20)
        figure("the flood, messages a second", part["flood"]["rate"], least=475)
    if part := figures.get("fair"):
        figure("others' p95 answer time beside three troubled owners, ratio", part["answer_p95_ratio"], most=2.0)
    if part := figures.get("hostile"):
        figure("hostile requests answered 5xx or let in", part["server_errors"] + part["let_in"], most=0)
        figure("rows that hostile requests left", part["rows_stored_beside_the_good_one"], most=0)
        grown = round(part["memory_mb_at_the_end"] - part["memory_mb_after_a_fifth"], 1)
        figure("memory grown over their last four fifths, MB", grown, most=10)
    if part := figures.get("voice"):
        figure("growth of text's p95 answer time beside five notes", part["answer_p95_growth"], most=0.25)
        figure("a 5 s note alone, answered after s (median)", part["lone_note_s"][2], most=4)
        figure("a picture beside 24 notes of another, answered after s", part["picture_beside_many_notes_s"][2], most=4)
        figure("words understood of the committed notes, share", part["word_accuracy_mean"], least=0.85)
    if part := figures.get("media"):
        figure(
            f"of {part['kinds']} kinds of hostile media, not refused as they should",
            len(part["not_as_expected"]),
            most=0,
        )
        figure("connections to where hostile media led", part["connections_to_elsewhere"], most=0)
        figure("files that they left", part["files_left"] - part["files_of_what_was_harmless"], most=0)
        figure("memory meanwhile, servers included, MB", part["memory_mb_at_most"], most=400)
        figure("parsers of hostile documents at once", part["documents"]["parsers_at_once"], most=2)
    if part := figures.get("knowledge"):
        for name, value in part["cost_ratio"].items():
            figure(f"search among 10,000 entries to one among 100, {name}", value, most=4)
        figure("the event loop blocked by a search among them, ms", part["large"]["blocked_ms"], most=20)
    if part := figures.get("million"):
        for name, value in part["cost_ratio"].items():
            figure(f"cost after a million messages, {name}", value, most=1.3)
    return found


if __name__ == "__main__":
    main()
