"""The steps are told in short functions, and each folder has few files of a kind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import recado

SOURCE = Path(recado.__file__).parent
MOST_LINES, MOST_FILES = 40, 12


def _functions(folder: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted((SOURCE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(SOURCE)}::{node.name}", node


def test_no_function_of_a_step_is_longer_than_forty_lines() -> None:
    lengths = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in _functions("journey")}
    assert len(lengths) > 150
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_each_step_is_a_folder_with_a_file_of_its_name_or_of_what_it_does_and_few_beside_it() -> None:
    begins = {
        "receive": "door",
        "accept": "accept",
        "understand": "listen",
        "answer": "turn",
        "deliver": "deliver",
        "confirm": "confirm",
    }
    folders = {path.name for path in (SOURCE / "journey").iterdir() if (path / "__init__.py").exists()}
    assert folders == set(begins)
    for step, file in begins.items():
        files = {path.stem for path in (SOURCE / "journey" / step).glob("*.py")} - {"__init__"}
        assert file in files
        assert len(files) <= MOST_FILES, files
