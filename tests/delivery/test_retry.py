from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.channels.port import ErrorClass
from recado.delivery.retry import POLICY, Action, Decision, backoff_s, decide

classes = st.sampled_from(list(ErrorClass))
draws = st.floats(0, 1, exclude_max=True)
waits = st.none() | st.floats()


@given(classes, st.integers(-1, 10**6), st.floats(0, 1e9), waits, draws)
def test_every_failure_has_a_bounded_way_on(
    error_class: ErrorClass, attempt: int, age_s: float, wait: float | None, draw: float
) -> None:
    decision = decide(error_class, attempt=attempt, age_s=age_s, retry_after_s=wait, random=lambda: draw)
    if decision.action in {Action.RETRY, Action.RECONCILE}:
        assert attempt < POLICY.max_attempts
        assert decision.delay_s is not None
        assert decision.delay_s >= 0
        assert age_s + decision.delay_s <= POLICY.max_age_s
    elif decision.action is Action.HOLD:
        assert age_s < POLICY.window_s
    else:
        assert decision == Decision(action=Action.FAIL)


@given(st.integers(1, 11), draws)
def test_an_unknown_outcome_is_reconciled_before_any_retry(attempt: int, draw: float) -> None:
    decision = decide(ErrorClass.UNKNOWN, attempt=attempt, age_s=0, random=lambda: draw)
    assert decision.action is Action.RECONCILE
    assert decision.delay_s is not None
    assert decision.delay_s >= POLICY.reconcile_after_s


@pytest.mark.parametrize("error_class", ["window", "recipient", "content", "template"])
def test_what_can_never_be_sent_fails_at_once_and_the_owner_is_told(error_class: str) -> None:
    decision = decide(ErrorClass(error_class), attempt=1, age_s=0, random=lambda: 0.5)
    assert decision == Decision(action=Action.FAIL)


def test_a_wrong_setup_is_held_until_the_owner_acts_and_a_used_up_limit_for_a_while() -> None:
    setup = decide(ErrorClass.CONFIGURATION, attempt=1, age_s=0, random=lambda: 0.5)
    quota = decide(ErrorClass.QUOTA, attempt=1, age_s=0, random=lambda: 0.5)
    assert setup == Decision(action=Action.HOLD, delay_s=None)
    assert quota == Decision(action=Action.HOLD, delay_s=900.0)


@pytest.mark.parametrize("error_class", ["configuration", "quota"])
def test_nothing_is_held_beyond_the_24_hour_window(error_class: str) -> None:
    assert decide(ErrorClass(error_class), attempt=1, age_s=86_400, random=lambda: 0.5).action is Action.FAIL


def test_retry_after_is_the_least_wait_and_bounded() -> None:
    def delay(retry_after_s: float | None, draw: float = 0.5) -> float | None:
        return decide(ErrorClass.RETRY, attempt=1, age_s=0, retry_after_s=retry_after_s, random=lambda: draw).delay_s

    assert delay(None) == 0.5
    assert delay(30.0) == 30.5
    assert delay(30.0, 0.0) == 30.0
    assert delay(1e9) == 900.5
    assert delay(-5.0) == delay(math.nan) == delay(math.inf) == 0.5


def test_back_off_doubles_with_full_jitter_up_to_the_cap() -> None:
    assert [backoff_s(attempt, lambda: 0.5) for attempt in (1, 2, 3, 9, 10, 5000)] == [0.5, 1, 2, 128, 150, 150]
    assert backoff_s(9, lambda: 0.0) == 0


def test_an_answer_older_than_four_hours_is_not_retried() -> None:
    assert decide(ErrorClass.RETRY, attempt=2, age_s=4 * 3600, random=lambda: 0.5).action is Action.FAIL
    assert decide(ErrorClass.RETRY, attempt=2, age_s=4 * 3600 - 60, random=lambda: 0.5).action is Action.RETRY


def test_after_the_last_attempt_it_fails() -> None:
    assert decide(ErrorClass.RETRY, attempt=11, age_s=0, random=lambda: 0.5).action is Action.RETRY
    assert decide(ErrorClass.RETRY, attempt=12, age_s=0, random=lambda: 0.5).action is Action.FAIL
