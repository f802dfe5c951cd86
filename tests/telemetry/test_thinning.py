"""Of a long series so much is kept that no screen shows the difference; of a short one everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.telemetry.smoothing import WEIGHTS, Floats, RunningAverages, smooth
from engine.telemetry.thinning import WHOLE, Kept, Thinned, warm_up

MOST = 4_500  # points that are kept of any series


def noisy(size: int, seed: int = 0) -> Floats:
    """A curve that falls, rises and has one spike."""
    random = np.random.default_rng(seed)
    values: Floats = np.cumsum(random.normal(0, 0.05, size)) + random.normal(0, 1, size)
    values[size // 3] = 500.0
    return values


def fed(values: Floats, sizes: list[int], attempts: NDArray[np.int64] | None = None) -> Thinned:
    """A series that came in pieces of these sizes, again and again; a second and a step a point."""
    series, at, turn = Thinned(), 0, 0
    numbers = np.ones(values.size, np.int64) if attempts is None else attempts
    while at < values.size:
        part = slice(at, at + sizes[turn % len(sizes)])
        steps = np.arange(values.size)[part]
        series.extend(numbers[part], steps, steps.astype(float), values[part])
        at, turn = at + steps.size, turn + 1
    return series


def columns(places: NDArray[np.int64], values: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest value in each column of a chart."""
    inside = [values[(places >= low) & (places < high)] for low, high in itertools.pairwise(edges)]
    return np.array([part.min() for part in inside]), np.array([part.max() for part in inside])


def same(one: Kept, other: Kept) -> bool:
    """Whether all numbers are the same."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("place", "value", "averages"))


def test_a_series_that_a_screen_could_show_whole_is_kept_whole() -> None:
    values = noisy(WHOLE)
    series = fed(values, [1000])
    kept = series.kept()
    assert series.head == 0 and np.array_equal(kept.value, values) and np.array_equal(kept.step, np.arange(WHOLE))
    assert all(np.allclose(kept.averages[n], smooth(values, weight), atol=1e-6) for n, weight in enumerate(WEIGHTS))


@settings(max_examples=12)
@given(
    st.integers(WHOLE + 1, 60_000),
    st.lists(st.integers(1, 9_000), min_size=1, max_size=4).filter(lambda s: sum(s) > 99),
)
def test_any_length_in_any_pieces_is_kept_in_few_points_of_which_each_is_one_of_the_series(
    size: int, sizes: list[int]
) -> None:
    values = noisy(size)
    series = fed(values, sizes)
    kept = series.kept()
    assert kept.size <= MOST and series.count == size and (np.diff(kept.place) > 0).all()
    assert np.array_equal(kept.value, values[kept.place]) and np.array_equal(kept.step, kept.place)
    assert kept.value.max() == 500.0 and kept.value.min() == values.min()
    tail = kept.at(slice(series.head, None))
    assert tail.size >= 64 and np.array_equal(tail.place, np.arange(size - tail.size, size)), "the newest are all there"
    for number, weight in enumerate(WEIGHTS):
        exact = smooth(values, weight)
        assert np.allclose(tail.averages[number], exact[tail.place], rtol=1e-6, atol=1e-6)
        assert np.isclose(kept.averages[number].max(), exact.max()) and np.isclose(
            kept.averages[number].min(), exact.min()
        )
        wide = 2 * series.bucket
        near = np.array([exact[max(0, at - wide) : at + wide] for at in kept.place[wide:-wide:97].tolist()])
        there = kept.averages[number, wide:-wide:97]
        assert ((there >= near.min(axis=1) - 1e-5) & (there <= near.max(axis=1) + 1e-5)).all()


def test_every_column_of_a_wide_chart_shows_what_it_would_with_all_points() -> None:
    values = noisy(100_000)
    kept = fed(values, [777]).kept()
    edges = np.linspace(0, 100_000, 481)
    low, high = columns(np.arange(100_000), values, edges)
    kept_low, kept_high = columns(kept.place, kept.value, edges)
    assert (kept_low >= low).all() and (kept_high <= high).all()
    # what stands at the edge of a column is within a bucket of it
    assert np.mean((kept_low > low) | (kept_high < high)) < 0.7
    beside = np.minimum.reduce([kept_low, np.roll(kept_low, 1), np.roll(kept_low, -1)])
    assert (beside <= low).all()


def test_lost_values_and_the_ends_of_attempts_are_kept() -> None:
    values = noisy(50_000)
    values[[7, 20_000, 20_001, 31_415]] = [np.nan, np.inf, -np.inf, np.nan]
    attempts = np.repeat([1, 2, 5], [12_345, 20_000, 17_655])
    kept = fed(values, [4_000, 1], attempts).kept()
    assert kept.place[~np.isfinite(kept.value)].tolist() == [7, 20_000, 20_001, 31_415]
    assert {0, 12_344, 12_345, 32_344, 32_345, 49_999} <= set(kept.place.tolist())
    assert np.array_equal(np.unique(kept.attempt), [1, 2, 5])
    for number, weight in enumerate(WEIGHTS):
        exact = smooth(values, weight)
        assert np.isclose(np.nanmax(kept.averages[number][np.isfinite(kept.value)]), exact[np.isfinite(values)].max())


def test_a_series_of_lost_values_alone_stays_bounded() -> None:
    kept = fed(np.full(200_000, np.nan), [5_000]).kept()
    assert kept.size <= MOST and np.isnan(kept.value).all()


def test_points_at_equal_distances_are_the_same_of_series_that_were_measured_together() -> None:
    one, other = fed(noisy(80_000, 1), [3_000]), fed(noisy(80_000, 2), [3_000])
    shared = np.intersect1d(one.kept().place, other.kept().place)
    assert one.distance == other.distance and set(range(0, 78_000, one.distance)) <= set(shared.tolist())


def test_what_was_handed_out_stays_as_it_was() -> None:
    values = noisy(30_000)
    series = fed(values[:4_100], [4_100])
    before = series.kept()
    copy = before.at(np.arange(before.size))
    for at in range(4_100, 30_000, 50):
        steps = np.arange(at, at + 50)
        series.extend(np.ones(50, np.int64), steps, steps.astype(float), values[at : at + 50])
    assert same(before, copy)


@pytest.mark.parametrize("pieces", [[1], [3, 1, 500], [4_096]])
def test_averages_in_pieces_are_those_of_the_whole(pieces: list[int]) -> None:
    values = noisy(9_000)
    values[[0, 5, 6, 4_000]] = np.nan
    averages, at, turn, found = RunningAverages(), 0, 0, []
    while at < values.size:
        size = pieces[turn % len(pieces)]
        found.append(averages.over(values[at : at + size]))
        at, turn = at + size, turn + 1
    for row, weight in zip(np.concatenate(found, axis=1), WEIGHTS, strict=True):
        np.testing.assert_allclose(row, smooth(values, weight), rtol=1e-10, atol=1e-12)


def test_averages_that_begin_late_are_right_after_the_warm_up() -> None:
    values, begin = noisy(20_000), 10_000
    late = RunningAverages()
    late.over(values[begin - warm_up() : begin])
    for row, weight in zip(late.over(values[begin:]), WEIGHTS, strict=True):
        np.testing.assert_allclose(row, smooth(values, weight)[begin:], atol=1e-4)
