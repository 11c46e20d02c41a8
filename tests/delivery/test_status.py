from __future__ import annotations

from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.delivery.status import FAILURES, RANK, Status
from tests.delivery.status_model import advance, aggregate

statuses = st.sampled_from(list(Status))


@given(st.lists(statuses, min_size=1), st.randoms(use_true_random=False), st.integers(1, 3))
def test_any_order_and_repetition_of_callbacks_ends_in_the_same_status(
    history: list[Status], random: object, times: int
) -> None:
    shuffled = list(history) * times
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduce(advance, shuffled, "queued") == reduce(advance, history, "queued")


@given(statuses, statuses)
def test_a_status_never_goes_backward(current: str, incoming: str) -> None:
    assert RANK[advance(current, incoming)] >= RANK[current]


def test_a_sending_goes_from_queued_to_read() -> None:
    for ahead in (["accepted", "sending", "sent", "delivered", "read"], ["queued", "sending", "sent", "delivered"]):
        for before, after in pairwise(ahead):
            assert advance(before, after) == after
            assert advance(after, before) == after


@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_a_failure_is_final_unless_it_was_delivered(failure: str) -> None:
    for earlier in ("accepted", "queued", "sending", "sent"):
        assert advance(failure, earlier) == failure
        assert advance(earlier, failure) == failure
    for arrived in ("delivered", "read"):
        assert advance(arrived, failure) == arrived
        assert advance(failure, arrived) == arrived


def test_a_status_that_twilio_may_add_changes_nothing() -> None:
    assert advance("sent", "teleported") == "sent"
    assert advance("teleported", "sent") == "sent"


def test_every_rank_is_its_own() -> None:
    assert len(set(RANK.values())) == len(RANK) == len(Status)


@given(st.lists(statuses, min_size=1))
def test_parts_have_failed_if_any_failed_and_are_as_far_as_the_last_of_them(parts: list[str]) -> None:
    whole = aggregate(parts)
    if FAILURES & set(parts):
        assert whole == "failed"
    else:
        assert whole in parts
        assert all(RANK[whole] <= RANK[part] for part in parts)


def test_no_parts_have_no_status() -> None:
    with pytest.raises(ValueError, match="empty"):
        aggregate([])
