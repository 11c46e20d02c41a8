"""Tests that a page of the documentation names, in the form `tests/FILE.py::NAME`."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NODE = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


@cache
def _tests(path: str) -> frozenset[str]:
    names = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        group = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names |= {prefix + item.name for item in group if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(names)


def named(page: str) -> list[str]:
    """The tests that `page` names."""
    return [f"{path}::{name}" for path, name in NODE.findall(page)]


def missing(page: str) -> list[str]:
    """Those of them that there are not."""
    return [node for node in named(page) if not _there(*node.split("::", 1))]


def _there(path: str, name: str) -> bool:
    return (ROOT / path).exists() and name in _tests(path)
