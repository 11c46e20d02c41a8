"""The rule of the lock-out, as arithmetic over a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from recado.identity.sign_in import OF_ADDRESS, OF_SOURCE, Failures, Rule, one_more

START = datetime(2026, 3, 1, tzinfo=UTC)
RULES = st.builds(
    Rule,
    free=st.integers(1, 50),
    first_s=st.integers(1, 120),
    longest_s=st.integers(120, 7200),
    forget_s=st.integers(60, 200_000),
)


def guess_without_pause(rule: Rule, seconds: int) -> list[datetime]:
    """When guesses are let through if each is made as soon as the lock allows."""
    now, end, let_through = START, START + timedelta(seconds=seconds), list[datetime]()
    failures: Failures | None = None
    while now < end:
        failures = one_more(failures, rule, now)
        let_through.append(now)
        now += timedelta(seconds=max(failures.wait_s(now), 0.01))
    return let_through


@given(RULES)
def test_the_free_tries_lock_nothing_and_each_further_one_twice_as_long_up_to_the_limit(rule: Rule) -> None:
    failures: Failures | None = None
    now, waits = START, []
    for _ in range(rule.free + 12):
        failures = one_more(failures, rule, now)
        waits.append(failures.wait_s(now))
        now += timedelta(seconds=waits[-1])
    assert waits[: rule.free] == [0] * rule.free
    assert waits[rule.free :] == [min(rule.longest_s, rule.first_s * 2**n) for n in range(12)]


@given(RULES, st.integers(0, 10**9))
def test_no_lock_is_longer_than_the_limit_however_often_it_was_tried(rule: Rule, count: int) -> None:
    failures = one_more(Failures(count=count, last_at=START, locked_until=START), rule, START)
    assert 0 <= failures.wait_s(START) <= rule.longest_s


@given(RULES, st.integers(0, 10**6), st.integers(0, 7200), st.floats(0, 10))
def test_a_quiet_time_after_the_lock_forgets_and_nothing_shorter_does(
    rule: Rule, count: int, lock_s: int, longer: float
) -> None:
    unlocked = START + timedelta(seconds=lock_s)
    before = Failures(count=count, last_at=START, locked_until=unlocked)
    quiet = timedelta(seconds=rule.forget_s)
    assert one_more(before, rule, unlocked + quiet * (1 + longer)).count == 1
    assert one_more(before, rule, unlocked + quiet - timedelta(seconds=1)).count == count + 1


@given(st.lists(st.floats(0, 5000), max_size=60))
def test_a_wait_never_grows_as_time_passes(pauses: list[float]) -> None:
    failures = Failures(count=9, last_at=START, locked_until=START + timedelta(seconds=900))
    now, waits = START, [900]
    for pause in pauses:
        now += timedelta(seconds=pause)
        waits.append(failures.wait_s(now))
    assert waits == sorted(waits, reverse=True)


def test_a_day_of_guessing_at_one_address_is_about_a_hundred_guesses() -> None:
    assert len(guess_without_pause(OF_ADDRESS, 24 * 3600)) <= 110


def test_a_day_of_guessing_from_one_source_is_about_sixty_guesses() -> None:
    assert len(guess_without_pause(OF_SOURCE, 24 * 3600)) <= 70
