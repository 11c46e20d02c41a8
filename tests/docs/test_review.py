"""The review's list has an answer and a test for each of its weaknesses and risks."""

from __future__ import annotations

import pytest

from tests.docs.named import NODE, ROOT, missing

PAGE = (ROOT / "docs/explain/review.md").read_text()


def _rows(heading: str) -> list[list[str]]:
    section = PAGE.partition(f"# {heading}")[2].partition("\n#")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1:]]


def test_every_test_that_the_review_names_exists() -> None:
    assert missing(PAGE) == []


@pytest.mark.parametrize(
    ("heading", "numbers"), [("The nine weaknesses", range(1, 10)), ("Six risks, by what they cost", range(1, 7))]
)
def test_all_are_there_in_their_order(heading: str, numbers: range) -> None:
    assert [row[0].partition(".")[0] for row in _rows(heading)] == [str(number) for number in numbers]


@pytest.mark.parametrize(
    "heading", ["The nine weaknesses", "The ninth, thing by thing", "Six risks, by what they cost"]
)
def test_each_has_an_answer_and_a_test(heading: str) -> None:
    rows = _rows(heading)
    assert rows
    for row in rows:
        weakness, answer, tests = row if len(row) == 3 else [*row, ""]
        assert answer, weakness
        assert NODE.search(tests) or answer == "the table below", weakness
