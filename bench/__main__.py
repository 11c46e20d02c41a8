"""`make bench`: measures the product beside a baseline in the same run, prints ratios, writes JSON.

`python -m bench [ack] [turns] [idle] [flood] [hostile] [media] [voice] [million]` measures some of it.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from bench import ack, flood, hostile, idle, media, million, turns, voice

PARTS = {
    "ack": ack.measure,
    "turns": turns.measure,
    "idle": idle.measure,
    "flood": flood.measure,
    "hostile": hostile.measure,
    "media": media.measure,
    "voice": voice.measure,
    "million": million.measure,
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
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    path = results / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))
    for line in summary(figures):
        print(line)
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def summary(figures: dict[str, Any]) -> list[str]:
    """The figures that have a target, each beside it."""
    lines = []

    def line(what: str, value: float, target: str) -> None:
        lines.append(f"{what:<58} {value:>9}   ({target})")

    if part := figures.get("ack"):
        line("ack, share of the bare route at 16 connections", part["ratio_to_bare"]["16"], "at least 0.40")
        line("ack, share of the bare route at 64 connections", part["ratio_to_bare"]["64"], "at least 0.50")
        line("ack, p99 at 16 connections, ms", part["accept"]["16"]["p99_ms"], "at most 40")
        line(
            "ack, rate with limits on, share of that with them off",
            part["limits"]["rate"]["on_to_off"],
            "at least 0.85",
        )
        line("ack, CPU of one with limits on, to that with them off", part["limits"]["cpu_us"]["on_to_off"], "-")
        line("ack, p50 of a lone request, ms", part["accept"]["1"]["p50_ms"], "-")
        rate = round(part["accept"]["16"]["rate"] / part["raw_commit"]["rate"], 2)
        line("ack at 16 connections, share of raw single-row commits", rate, "-")
    if part := figures.get("turns"):
        line("turns a second, instant model", part["instant"]["rate"], "at least 40")
        line("turns a second, 2 s model, one worker", part["two_seconds"]["rate"], "at least 25")
    if part := figures.get("idle"):
        line("idle latency p50 less the quiet window, ms", part["latency_less_quiet_window_p50_ms"], "at most 200")
        line("idle CPU of `recado serve`, share of a core", part["idle_cpu_share_of_a_core"], "at most 0.06")
        line("memory of `recado serve`, MB", part["memory_mb_after_work"], "at most 250")
    if part := figures.get("flood"):
        line("growth of others' p95 answer time beside a flood", part["answer_p95_growth"], "at most 0.20")
        line("the flood, messages a second", part["flood"]["rate"], "500")
    if part := figures.get("hostile"):
        line("hostile requests answered 5xx or let in", part["server_errors"] + part["let_in"], "0")
        line("rows that hostile requests left", part["rows_stored_beside_the_good_one"], "0")
        grown = round(part["memory_mb_at_the_end"] - part["memory_mb_after_a_fifth"], 1)
        line("memory grown over their last four fifths, MB", grown, "about 0")
    if part := figures.get("voice"):
        line("growth of text's p95 answer time beside five notes", part["answer_p95_growth"], "at most 0.25")
        line("a 5 s note alone, answered after s (median)", part["lone_note_s"][2], "at most 4")
        line(
            "a picture beside 24 notes of another, answered after s",
            part["picture_beside_many_notes_s"][2],
            "at most 4",
        )
        line("words understood of the committed notes, share", part["word_accuracy_mean"], "at least 0.85")
    if part := figures.get("media"):
        line(
            f"of {part['kinds']} kinds of hostile media, not refused as they should", len(part["not_as_expected"]), "0"
        )
        line("connections to where hostile media led", part["connections_to_elsewhere"], "0")
        line("files that they left", part["files_left"] - part["files_of_what_was_harmless"], "0")
        line("memory meanwhile, servers included, MB", part["memory_mb_at_most"], "at most 400")
        line("parsers of hostile documents at once", part["documents"]["parsers_at_once"], "at most 2")
    if part := figures.get("million"):
        for name, value in part["cost_ratio"].items():
            line(f"cost after a million messages, {name}", value, "at most 1.3")
    return lines


if __name__ == "__main__":
    main()
