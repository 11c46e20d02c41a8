"""The threat model names tests that are there, and no attack without one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explain/security.md").read_text()
NODE = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


@cache
def _tests(path: str) -> frozenset[str]:
    names = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        group = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names |= {prefix + item.name for item in group if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(names)


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = NODE.findall(PAGE)
    assert len(named) > 30
    assert [f"{path}::{name}" for path, name in named if not (ROOT / path).exists() or name not in _tests(path)] == []


def test_every_attack_in_the_threat_model_has_a_defence_and_a_test() -> None:
    section = PAGE.partition("## Attackers")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| tries to")]
    assert len(rows) > 20
    for row in rows:
        attack, defence, tests = (cell.strip() for cell in row.strip("|").split(" | "))
        assert attack, row
        assert defence, row
        assert NODE.search(tests), row
