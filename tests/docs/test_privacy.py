"""What docs/explain/privacy.md says of the code is true: its tables are the code's, the files that it names exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs import privacy_tables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explain" / "privacy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "table",
    [privacy_tables.of_contacts, privacy_tables.of_users, privacy_tables.places, privacy_tables.periods],
    ids=lambda table: table.__name__,
)
def test_the_page_has_the_table_as_the_code_has_it(table: Callable[[], Iterator[str]]) -> None:
    expected = "\n".join(table())
    assert expected in PAGE, f"python -m tests.docs.privacy_tables prints:\n{expected}"


def test_files_that_the_page_names_are_there() -> None:
    named = re.findall(r"`((?:src|tests)/[\w/.]+)`", PAGE)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path
