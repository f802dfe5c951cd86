"""The axis of moments: round local times, also where the clocks are put forward and back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.telemetry.clock_axis import clock_axis


@pytest.fixture(autouse=True, params=["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """Local time is that of a place: no offset, one with summer time, one of three quarters of an hour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def local(month: int, day: int, *clock: int) -> float:
    hour, minute, second = (*clock, 0, 0, 0)[:3]
    return time.mktime((2026, month, day, hour, minute, second, 0, 0, -1))


def labels(low: float, high: float, ticks: int = 5) -> list[str]:
    return [label for _, label in clock_axis(low, high, ticks).ticks]


def test_ticks_are_round_times_of_the_day_and_dates_where_one_begins() -> None:
    assert labels(local(5, 28, 21, 4), local(5, 28, 21, 58)) == [
        *("21:00", "21:15", "21:30", "21:45", "22:00"),
    ]
    assert labels(local(5, 28, 21), local(5, 29, 3)) == ["22:00", "29 May", "02:00"]
    assert labels(local(5, 28, 21, 4, 8), local(5, 28, 21, 4, 31)) == [
        *("21:04:10", "21:04:15", "21:04:20", "21:04:25", "21:04:30"),
    ]
    week = labels(local(5, 25, 9), local(5, 31, 9))
    assert week == ["26 May", "28 May", "30 May"]


def test_a_night_with_a_change_of_the_clocks_keeps_true_labels() -> None:
    for month, day in ((3, 29), (10, 25)):
        axis = clock_axis(local(month, day - 1, 18), local(month, day + 1, 6), 6)
        for moment, label in axis.ticks:
            shown = time.localtime(moment)
            assert label in (time.strftime("%H:%M", shown), f"{shown.tm_mday} {time.strftime('%b', shown)}")
        assert f"{day} {'Mar' if month == 3 else 'Oct'}" in [label for _, label in axis.ticks]


@settings(max_examples=60)
@given(st.floats(1e9, 2e9), st.floats(0, 3e7), st.integers(1, 8))
def test_an_axis_holds_its_span_and_ticks_ascend(low: float, span: float, ticks: int) -> None:
    axis = clock_axis(low, low + span, ticks)
    assert axis.low <= low and axis.high >= low + span and axis.high > axis.low
    moments = [moment for moment, _ in axis.ticks]
    assert all(a < b for a, b in itertools.pairwise(moments)) and len(moments) <= 3 * ticks + 3
    assert all(axis.low <= moment <= axis.high for moment in moments)
