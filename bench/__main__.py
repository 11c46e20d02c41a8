"""`make bench`: measures the product beside baselines, each pair in turn (`bench.pairs`), prints ratios, writes JSON.

It ends with 1 when a figure misses its target, and names it. Ratios, counts and memory have targets; rates and times
are another machine's tomorrow and have none.

`python -m bench PART ...` measures some of it; `PARTS` names them.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import (
    ack,
    backup,
    erase,
    fair,
    flood,
    held,
    hostile,
    idle,
    knowledge,
    media,
    million,
    observed,
    turns,
    voice,
)
from bench.pairs import ratio, total

RESULTS = Path(__file__).parent / "results"
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "ack": ack.measure,
    "turns": turns.measure,
    "cost": turns.cost,
    "observed": observed.measure,
    "idle": idle.measure,
    "flood": flood.measure,
    "fair": fair.measure,
    "held": held.measure,
    "erase": erase.measure,
    "hostile": hostile.measure,
    "media": media.measure,
    "voice": voice.measure,
    "million": million.measure,
    "backup": backup.measure,
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
    """What is quoted: ratios, counts and memory beside their targets; rates and times beside none."""
    found: list[Figure] = []

    def figure(what: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
        found.append(Figure(what, value, least, most))

    def rate(what: str, measured: dict[str, Any]) -> None:
        figure(f"{what} a second", measured["ours"]["rate"])
        figure(f"{what} a second, baseline", measured["baseline"]["rate"])

    if part := figures.get("ack"):
        figure("ack, rate at 16 connections to the bare route's", ratio(part["at_16"], "rate"), least=0.28)
        figure("ack, rate at 64 connections to the bare route's", ratio(part["at_64"], "rate"), least=0.38)
        figure("ack, p50 of a lone request to the bare route's", ratio(part["at_1"], "p50_ms"))
        figure("ack, p99 at 16 connections to the bare route's", ratio(part["at_16"], "p99_ms"))
        figure("ack at 16 connections to raw single-row commits", ratio(part["to_raw_commits"], "rate"))
        figure("ack, rate with limits on to that with them off", ratio(part["limits"], "rate"), least=0.85)
        figure("ack, CPU of one with limits on to that with them off", ratio(part["limits"], "cpu_us"))
        figure("webhooks that were not answered 200", sum(total(one, "failed") for one in part.values()), most=0)
        rate("webhooks at 16 connections", part["at_16"])
        figure("p99 of webhooks at 16 connections, ms", part["at_16"]["ours"]["p99_ms"])
    if part := figures.get("turns"):
        figure("turns to the floor's, instant model", ratio(part["instant"], "rate"), least=0.40)
        figure("turns to the floor's, 2 s model", ratio(part["two_seconds"], "rate"), least=0.55)
        figure("CPU of a turn, PostgreSQL's too, to the floor's", ratio(part["instant"], "cpu_ms"), most=1.5)
        figure("turns that were lost", sum(total(one, "lost") for one in part.values()), most=0)
        rate("turns, instant model,", part["instant"])
        rate("turns, 2 s model,", part["two_seconds"])
    if part := figures.get("cost"):
        figure("CPU of a turn and its delivery to the floor's", ratio(part, "cpu_ms"), most=1.6)
        figure("CPU of the workers to the floor's process", ratio(part, "worker_ms"))
        figure("CPU of PostgreSQL to the floor's", ratio(part, "postgres_ms"))
        for what, name in (("a turn's worker", "turns"), ("a delivery's worker", "deliveries")):
            figure(f"CPU of {what} to the floor's in all", part["ours"][f"{name}_ms_to_floor"])
            figure(f"CPU of {what}, ms", part["ours"][f"{name}_ms"])
        figure("CPU of PostgreSQL for both, ms", part["ours"]["postgres_ms"])
        figure("CPU of the floor, ms", part["baseline"]["cpu_ms"])
        figure("turns that were lost", total(part, "lost"), most=0)
    if part := figures.get("observed"):
        seen, traced, answered, page = part["webhooks"], part["traced"], part["turns"], part["page"]
        figure("webhooks with metrics on to those with them off", ratio(seen, "rate"), least=0.97)
        figure("CPU of one with metrics on to that with them off", ratio(seen, "cpu_us"))
        figure("webhooks with metrics and 1% of traces to off", ratio(traced, "rate"), least=0.95)
        figure("CPU of one with both on to that with both off", ratio(traced, "cpu_us"))
        figure("CPU of a turn's worker with both on to off", ratio(answered, "worker_ms"), most=1.05)
        figure("metrics page, ms", page["page_ms"], most=20)
        figure("metrics page under load, ms", page["page_under_load_ms"])
        figure("series on an API's page", page["series"], most=399)
        lost = total(answered, "lost") + total(seen, "failed") + total(traced, "failed")
        figure("turns and webhooks that were lost", lost, most=0)
    if part := figures.get("idle"):
        figure("p50 of a lone answer to the quiet window", part["answer_p50_to_quiet_window"], most=1.35)
        figure(
            "idle CPU of `recado serve`, in bare requests a second", part["idle_in_bare_requests_a_second"], most=300
        )
        figure("memory of `recado serve`, MB", part["memory_mb_after_work"], most=250)
        figure("idle CPU of `recado serve`, share of a core", part["idle_cpu_share_of_a_core"])
        figure("idle latency p50 less the quiet window, ms", part["latency_less_quiet_window_p50_ms"])
    if part := figures.get("flood"):
        figure("others' p95 answer time beside a flood to that alone", ratio(part, "answer_p95_ms"), most=1.25)
        figure("others not answered", total(part, "unanswered"), most=0)
        figure("the flood's rate to what was asked", part["ours"]["flood_rate_to_asked"], least=0.90)
    if part := figures.get("fair"):
        figure("others' p95 answer time beside three troubled owners", ratio(part, "p95_ms"), most=1.6)
        figure("others not answered within 10 s", total(part, "unanswered"), most=0)
        figure("others' p95 answer time beside them, ms", part["ours"]["p95_ms"])
        figure("others' p95 answer time without them, ms", part["baseline"]["p95_ms"])
    if part := figures.get("erase"):
        figure("seconds until a contact with 10,000 messages is gone here", part["ours"]["seconds"], most=60)
        figure("those seconds to bare statements'", ratio(part, "seconds"))
        figure("contacts that were not erased", part["left"], most=0)
        figure("ms until nothing is sent to them any more", part["ours"]["request_ms"])
        figure("seconds with a Twilio that answers at once", part["ours"]["whole_seconds"])
        figure("memory of copying a contact with 10,000 messages, MB", part["copy"]["peak_mb"], most=40)
        figure("seconds of copying them", part["copy"]["seconds"])
    if part := figures.get("held"):
        figure("recovery's round, held messages to none", ratio(part, "round_ms"), most=1.5)
        figure("recovery's round with them, ms", part["ours"]["round_ms"])
    if part := figures.get("hostile"):
        figure("hostile requests answered 5xx or let in", part["server_errors"] + part["let_in"], most=0)
        figure("rows that hostile requests left", part["rows_stored_beside_the_good_one"], most=0)
        grown = round(part["memory_mb_at_the_end"] - part["memory_mb_after_a_fifth"], 1)
        figure("memory grown over their last four fifths, MB", grown, most=10)
    if part := figures.get("voice"):
        beside = ratio(part["text"], "answer_p95_ms")
        figure("text's p95 answer time beside five notes to that alone", beside, most=1.25)
        lone = part["lone_note_to_bare_and_quiet_window"]
        figure("a note alone to hearing it bare and the quiet window", lone, most=2.0)
        figure("a picture beside 24 notes to one alone", ratio(part["pictures"], "answer_s"), most=2.0)
        figure("words understood of the committed notes, share", part["word_accuracy_mean"], least=0.85)
        figure("a 5 s note alone, answered after s (median)", part["lone_note_s"][2])
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
        for name in part["ratio"]:
            if name != "blocked_ms":
                figure(f"search among 10,000 entries to 100, {name}", ratio(part, name), most=5)
        figure("event loop's longest block among them to among 100", ratio(part, "blocked_ms"))
        figure("the event loop blocked by a search among them, ms", part["ours"]["blocked_ms"])
    if part := figures.get("million"):
        for name in ("accept_16", "accept_64", "turns"):
            figure(f"rate after a million messages to none, {name}", ratio(part[name], "rate"), least=0.75)
        figure("turns that were lost beside them", total(part["turns"], "lost"), most=0)
    if part := figures.get("backup"):
        figure("messages that a restore lost", part["lost"], most=0)
        figure("a backup, checked, to copying the same bytes", round(part["backup_s"] / part["copy_s"], 1))
        for what in ("backup", "verify", "restore"):
            figure(f"{what} of {part['messages']:,} messages, s", part[f"{what}_s"])
    return found


if __name__ == "__main__":
    main()
