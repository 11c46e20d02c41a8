"""Pairs: a baseline and ours, measured in turn (A B A B), so that what the machine does meanwhile meets both.

What is quoted of them is the median of the pairs' ratios, ours to the baseline, with the least and the most of them.
Absolute figures are kept beside it; they say nothing on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import Any

Measured = Mapping[str, float]


def in_turn(baseline: Callable[[], Measured], ours: Callable[[], Measured], *, times: int) -> dict[str, Any]:
    """Measure both so many times, the baseline first in each pair."""
    found = []
    for _ in range(times):
        before = baseline()
        found.append((before, ours()))
    return compared(found)


async def in_turn_async(
    baseline: Callable[[], Awaitable[Measured]], ours: Callable[[], Awaitable[Measured]], *, times: int
) -> dict[str, Any]:
    """As `in_turn`, in one event loop."""
    found = []
    for _ in range(times):
        before = await baseline()
        found.append((before, await ours()))
    return compared(found)


def compared(pairs: Sequence[tuple[Measured, Measured]]) -> dict[str, Any]:
    """Medians of both sides' figures and, of those that both have, the median of the pairs' ratios and their spread."""
    both = [name for name in pairs[0][0] if name in pairs[0][1]]
    return {
        "baseline": _medians([one for one, _ in pairs]),
        "ours": _medians([other for _, other in pairs]),
        "ratio": {
            name: _spread([_ratio(other[name], one[name]) for one, other in pairs])
            for name in both
            if any(one[name] or other[name] for one, other in pairs)
        },
        "pairs": [[dict(one), dict(other)] for one, other in pairs],
    }


def ratio(found: Mapping[str, Any], name: str) -> float:
    """What is quoted of that figure."""
    value: float = found["ratio"][name]["median"]
    return value


def total(found: Mapping[str, Any], name: str) -> float:
    """The sum of a count over all that was measured, so that no median hides one."""
    return float(sum(side.get(name, 0) for pair in found["pairs"] for side in pair))


def _ratio(ours: float, baseline: float) -> float:
    """Not a number where the baseline was nothing: that meets no target."""
    return ours / baseline if baseline else math.nan


def _medians(found: Sequence[Measured]) -> dict[str, float]:
    return {name: round(median(one[name] for one in found), 4) for name in found[0]}


def _spread(ratios: Sequence[float]) -> dict[str, float]:
    if any(map(math.isnan, ratios)):
        return dict.fromkeys(("median", "least", "most"), math.nan)
    return {"median": round(median(ratios), 3), "least": round(min(ratios), 3), "most": round(max(ratios), 3)}
