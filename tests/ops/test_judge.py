"""What was answered while a database was not there, by the order of Twilio's list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.ops.backup.judge import Said, Verdict, judge

LONG = 300


def at(second: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=second)


def said(*told: tuple[float, str]) -> list[Said]:
    """`(second, "?a")` asks, `(second, "!")` answers, `(second, "!!")` at length, `(second, "=")` was known."""
    found = []
    for second, what in told:
        kind: Literal["asked", "answer", "known"] = (
            "asked" if what.startswith("?") else "known" if what == "=" else "answer"
        )
        chars = 1400 if what == "!!" else 20
        found.append(Said(what=kind, at=at(second), id=what[1:] or None, chars=chars, has_file=what == "!file"))
    return found


@pytest.mark.parametrize(
    ("told", "verdicts"),
    [
        ([(0, "?a")], {"a": "waits"}),
        ([(0, "?a"), (1, "!")], {"a": "answered"}),
        ([(0, "?a"), (0, "!"), (1, "?b"), (1, "!"), (2, "?c")], {"a": "answered", "b": "answered", "c": "waits"}),
        ([(0, "!"), (10, "?a")], {"a": "waits"}),
        # What it knows of itself says what it answers.
        ([(0, "?a"), (10, "=")], {"a": "waits"}),
        # Two in one breath: the answer may have been made before the second.
        ([(0, "?a"), (1, "?b"), (3, "!")], {"a": "answered", "b": "unsure"}),
        ([(0, "?a"), (1, "?b"), (6, "!")], {"a": "answered", "b": "answered"}),
        # The next answer tells.
        ([(0, "?a"), (1, "?b"), (3, "!"), (7, "!")], {"a": "answered", "b": "answered"}),
        # The second part of a long answer is no answer to what was asked between the two.
        ([(0, "?a"), (5, "!!"), (6, "?b"), (7, "!")], {"a": "answered", "b": "unsure"}),
        ([(0, "?a"), (5, "!"), (6, "?b"), (7, "!file")], {"a": "answered", "b": "unsure"}),
        ([(0, "?a"), (5, "!!"), (12, "?b"), (14, "!")], {"a": "answered", "b": "answered"}),
        # Nor does it answer what the first part did not.
        ([(0, "?a"), (0, "?b"), (1, "!!"), (5, "!")], {"a": "answered", "b": "unsure"}),
    ],
)
def test_what_was_asked_was_answered_by_what_followed_unless_it_may_have_been_on_its_way(
    told: Sequence[tuple[float, str]], verdicts: dict[Any, Verdict]
) -> None:
    assert judge(said(*told), long=LONG) == verdicts


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Said], dict[int, bool]]:
    """A conversation as the product has it, and which questions were answered in truth when the list ends.

    A turn takes what was asked until it begins to think; its answer is with Twilio some seconds later, in one or more
    parts, and what was asked meanwhile is for the next turn.
    """
    told: list[Said] = []
    truth: dict[int, bool] = {}
    now, number = 0.0, 0
    pending: list[int] = []
    for _ in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.integers(0, 3))):
            now += draw(st.floats(0, 20))
            told.append(Said(what="asked", at=at(int(now)), id=number))
            truth[number] = False
            pending.append(number)
            number += 1
        if not pending or draw(st.booleans()):
            continue
        taken, pending = pending, []
        parts = draw(st.integers(1, 2))
        for part in range(parts):
            sent = now + draw(st.floats(0, 3.0))
            if draw(st.booleans()):  # somebody writes while it is on its way
                now += (sent - now) / 2
                told.append(Said(what="asked", at=at(int(now)), id=number))
                truth[number] = False
                pending.append(number)
                number += 1
            now = sent
            told.append(Said(what="answer", at=at(int(now)), chars=1400 if parts == 2 and part == 0 else 40))
        truth |= dict.fromkeys(taken, True)
    return told, truth


@given(conversations())
def test_nothing_that_was_answered_waits_and_nothing_that_was_not_is_taken_for_answered(
    found: tuple[list[Said], dict[int, bool]],
) -> None:
    told, truth = found
    for asked, verdict in judge(told, long=LONG).items():
        answered = truth[asked]  # type: ignore[index]
        assert verdict != ("waits" if answered else "answered"), (asked, verdict)
