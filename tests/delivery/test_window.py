"""The 24-hour window, whatever the clocks of the machines say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from recado.delivery.window import WINDOW, Window, window

moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ages = st.timedeltas(-timedelta(days=3), timedelta(days=3))


@given(moments, ages)
def test_a_window_is_open_for_less_than_24_hours_after_the_message_and_never_longer(
    now: datetime, age: timedelta
) -> None:
    found = window(now - age, now)
    assert found.open == (age < WINDOW)
    assert timedelta(0) <= found.left <= WINDOW
    assert found.closes_at is not None
    assert found.open == (found.left > timedelta(0)) == (found.closes_at > now)


@given(moments)
def test_a_contact_who_never_wrote_has_no_window(now: datetime) -> None:
    assert window(None, now) == Window(open=False, closes_at=None, left=timedelta(0))


@given(moments, ages, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_a_closed_window_stays_closed_until_the_contact_writes(now: datetime, age: timedelta, later: timedelta) -> None:
    last_inbound_at = now - age
    if not window(last_inbound_at, now).open:
        assert not window(last_inbound_at, now + later).open
    assert window(now + later, now + later).open


@given(moments, st.timedeltas(timedelta(0), timedelta(days=1)))
def test_a_clock_that_is_ahead_opens_no_window_of_more_than_24_hours(now: datetime, ahead: timedelta) -> None:
    assert window(now + ahead, now) == window(now, now)


@given(moments, ages, ages)
def test_a_newer_message_never_shortens_the_window(now: datetime, one: timedelta, other: timedelta) -> None:
    older, newer = (window(moment, now).closes_at for moment in sorted([now - one, now - other]))
    assert older is not None
    assert newer is not None
    assert newer >= older
