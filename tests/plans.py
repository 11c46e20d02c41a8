"""What a statement read of a table, by PostgreSQL's own account: a plan's name of an index says little of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def rows_read(plan: Mapping[str, Any], table: str) -> int:
    """How many rows of the table were looked at, kept or not, in the plan of `EXPLAIN (ANALYZE, FORMAT JSON)`."""
    return sum(
        round((node["Actual Rows"] + sum(node.get(name, 0) for name in _REMOVED)) * node["Actual Loops"])
        for node in _nodes(plan)
        if node.get("Relation Name") == table
    )


_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
