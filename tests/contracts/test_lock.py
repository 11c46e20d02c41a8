"""`requirements.lock`: all that is declared, each with version and hashes, and not a word about where from."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contracts.test_imports import PROJECT, ROOT, RUNTIME

LOCK = (ROOT / "requirements.lock").read_text()
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,_-]+\])?==(\S+)", re.MULTILINE)


def test_everything_that_is_declared_is_locked_at_a_version_that_it_allows() -> None:
    locked = {canonicalize_name(name): version for name, version in PINNED.findall(LOCK)}
    lines = [*RUNTIME, *PROJECT["dependency-groups"]["dev"], *PROJECT["build-system"]["requires"]]
    wrong = [
        line
        for line in lines
        if (requirement := Requirement(line)).name != "recado"
        and not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert wrong == [], "make lock"


def test_every_pin_has_hashes_and_no_line_says_where_a_package_comes_from() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    for entry in entries:
        assert PINNED.match(entry), entry
        assert "--hash=sha256:" in entry, entry
    for forbidden in ("://", "file:", "--index", "--find-links", "--extra-index", " @ ", "/"):
        assert forbidden not in LOCK


def test_the_lock_is_for_linux_and_macos() -> None:
    # A file that was resolved for one platform alone pins neither of these away.
    assert re.search(r"^uvloop==\S+ ; .*", LOCK, re.MULTILINE)


def test_the_make_file_needs_nothing_but_python_and_make_to_set_up() -> None:
    recipe = Path(ROOT / "Makefile").read_text()
    set_up = recipe.partition("$(READY): requirements.lock")[2]
    assert "--require-hashes" in set_up
    assert "uv " not in set_up
