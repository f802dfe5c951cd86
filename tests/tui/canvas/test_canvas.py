"""The canvas shows every extreme, stays inside its cells, and does not move what it has drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.telemetry.axis import Scale, in_whole_rows, x_axis, y_axis
from engine.telemetry.smoothing import smooth
from tui.canvas import braille
from tui.canvas.charset import ASCII, UNICODE
from tui.canvas.frame import Ink, changed_spans, line_ink, one_cell_each
from tui.canvas.plot import Ground, Line, Mark, Plot, draw
from tui.canvas.spark import sparkline

finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.floats()
GOLDEN = """\
─ loss 1.5 ────────── s 0 ─
    3┤⢧
     │⠈⣇
     │ ⠘⣆
    2┤  ⠘⣆
     │   ⠸⡄              ⢀⡴
    1┤    ⠹⣄⣀⣀⣀⣀⣀⣀⣀⡀    ⣠⠞
     └⚑────────────┬─✕────↻
      0            5   step"""


def line(values: list[float], smoothing: float = 0.0, **changes: object) -> Line:
    y = np.array(values, dtype=float)
    average = smooth(y, smoothing) if smoothing else None
    return Line("loss", np.arange(len(values), dtype=float), y, average=average, **changes)  # type: ignore[arg-type]


def lit_cells(frame, color: int = 0) -> np.ndarray:
    return frame.inks == line_ink(color)


@pytest.mark.parametrize(("low", "high"), [(1.6, 2.3), (0.0428, 0.0524), (0.15, 0.45), (3.0, 3.0), (-1.1, 2.2)])
@pytest.mark.parametrize("rows", [5, 7, 10])
def test_a_small_chart_has_at_least_two_labels_and_no_crowd_of_them(low: float, high: float, rows: int) -> None:
    frame = draw(Plot([line([low, high])]), 40, rows + 3)
    labels = [row for row in frame.text().splitlines() if "┤" in row]
    assert 2 <= len(labels) < rows


@settings(max_examples=200)
@given(st.lists(anything, max_size=60), st.sampled_from(Scale), st.integers(0, 90), st.integers(0, 20), st.booleans())
def test_any_values_are_drawn_inside_the_plot_area(values, scale, width, height, banded) -> None:
    plot = Plot([line(values, smoothing=0.6 if banded else 0.0)], scale=scale, marks=[Mark(1, "restart")])
    frame = draw(plot, width, height, UNICODE)
    assert frame.glyphs.shape == (max(1, height), max(1, width))
    drawn = np.argwhere((frame.inks >= Ink.LINE) & (frame.glyphs != " "))
    if len(drawn):
        assert drawn[:, 0].min() >= frame.top and drawn[:, 0].max() < frame.top + frame.rows
        assert drawn[:, 1].min() >= frame.left and drawn[:, 1].max() < frame.left + frame.columns
    drawable = [value for value in values if math.isfinite(value)]
    if frame.columns and drawable:
        assert len(drawn)
    if frame.columns:
        assert (UNICODE.gap in frame.text()) == (len(drawable) < len(values))


@settings(max_examples=200)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200), st.integers(1, 40), st.integers(1, 12))
def test_least_and_greatest_value_of_every_dot_column_are_lit(values, columns, rows) -> None:
    y = np.array(values)
    x = np.arange(len(values), dtype=float)
    axis = y_axis(y.min(), y.max(), Scale.LINEAR, 4)
    edges = np.linspace(0, len(values) - 1, 2 * columns + 1)
    line, other = braille.Polyline(x, y), braille.Polyline(x[:1] + 0.5, y[:1])
    low, high = braille.extremes([line, other, line], edges, axis.fraction)
    dots = braille.fill(low[0], high[0], rows)
    assert np.array_equal(low[0], low[2], equal_nan=True) and np.isfinite(low[1]).sum() == 1
    column_of = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, 2 * columns - 1)
    dot_rows = braille.rows_of(axis.fraction(y), 4 * rows)
    assert dots[dot_rows, column_of].all()
    assert dots.any(axis=0).all(), "a line between finite points has no hole"


@given(st.integers(0, 99_999), st.sampled_from([1.0, -1.0]))
@settings(max_examples=20)
def test_one_spike_among_100_000_points_reaches_its_height(at, sign) -> None:
    values = np.zeros(100_000)
    values[at] = sign
    frame = draw(Plot([Line("kl", np.arange(100_000.0), values, average=smooth(values, 0.99))]), 40, 12)
    spike_row = frame.top if sign > 0 else frame.top + frame.rows - 1
    assert (frame.inks[spike_row] >= Ink.LINE).sum() == 1


@settings(max_examples=60)
@given(st.lists(anything, min_size=3, max_size=120), st.sampled_from([0.0, 0.9]))
def test_a_new_point_leaves_old_cells_alone_while_the_axes_stay(values, smoothing) -> None:
    before = draw(Plot([line(values[:-1], smoothing=smoothing)]), 60, 14)
    after = draw(Plot([line(values, smoothing=smoothing)]), 60, 14)
    if before.x is None or before.x != after.x or before.y != after.y:
        return
    last_old = before.left + int(before.x.fraction(np.array([len(values) - 2.0]))[0] * before.columns)
    for row, start, _ in changed_spans(before, after):
        assert row == 0 or start >= min(last_old, before.left + before.columns - 1)


def test_a_growing_run_seldom_moves_its_axis() -> None:
    moves = sum(x_axis(0, step, 6) != x_axis(0, step + 1, 6) for step in range(100, 10_000))
    assert moves < 60
    assert x_axis(0, 412, 5).high == 450
    assert [label for _, label in x_axis(0, 412, 5).ticks] == ["0", "100", "200", "300", "400"]


@settings(max_examples=300)
@given(finite, finite, st.sampled_from(Scale), st.integers(1, 8))
@example(9.999999999999346e299, 9.999999999999346e299, Scale.LOG, 1)
def test_axes_hold_their_range_with_ascending_distinct_ticks(a, b, scale, ticks) -> None:
    low, high = min(a, b), max(a, b)
    axis = y_axis(low, high, scale, ticks)
    assert axis.low < axis.high
    if not (scale is Scale.LOG and 0 < low < 1e-290):
        ends = axis.fraction(np.array([low, high]))
        assert ends[0] >= -1e-6 and ends[1] <= 1 + 1e-6
    values = [value for value, _ in axis.ticks]
    assert values == sorted(set(values))
    assert len({label for _, label in axis.ticks}) == len(values) <= 4 * ticks + 12
    heights = axis.fraction(np.array(values))
    assert ((heights > -1e-6) & (heights < 1 + 1e-6)).all()


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(4, 40), st.sampled_from(Scale))
def test_ticks_stand_whole_rows_apart_where_the_axis_is_not_much_longer_for_it(low, span, rows, scale) -> None:
    axis = y_axis(low, low + span, scale, max(1, min(5 + rows // 12, rows // 2)))
    wider = in_whole_rows(axis, rows - 0.25)
    assert wider.low <= axis.low and axis.high <= wider.high
    if wider != axis:
        assert wider.high - wider.low <= 1.3 * (axis.high - axis.low) * (1 + 1e-9)
        places = wider.fraction(np.array([value for value, _ in wider.ticks])) * (rows - 0.25)
        gaps = np.diff(places)
        np.testing.assert_allclose(gaps, np.rint(gaps[0]), atol=1e-3)


def test_the_ticks_of_most_charts_stand_evenly() -> None:
    generator, even = np.random.default_rng(3), 0
    for _ in range(200):
        low, span = generator.uniform(-3, 3) * 10.0 ** generator.integers(-3, 3), 10 ** generator.uniform(-3, 3)
        frame = draw(Plot([line([low, low + span])]), 40, int(generator.integers(8, 27)))
        rows = [row for row, text in enumerate(frame.text().splitlines()) if "┤" in text]
        even += len(set(np.diff(rows))) == 1
    assert even >= 170


def test_log_axis_leaves_a_gap_where_values_are_not_positive() -> None:
    frame = draw(Plot([line([100, 10, 0, 10, 1])], scale=Scale.LOG), 40, 10)
    assert frame.y is not None and frame.y.scale is Scale.LOG and (frame.y.low, frame.y.high) == (1, 100)
    columns = lit_cells(frame)[frame.top : frame.top + frame.rows].any(axis=0)
    gap = frame.left + int(frame.x.fraction(np.array([2.0]))[0] * frame.columns)  # type: ignore[union-attr]
    assert not columns[gap] and columns[: gap - 6].any() and columns[gap + 6 :].any()


def test_golden_render_with_marks_gap_and_axis() -> None:
    plot = Plot(
        [line([3.0, 2.0, 1.0, 1.0, 1.0, 1.0, math.nan, 1.0, 1.5])],
        title=[("loss", Ink.NAME), (" 1.5", line_ink(0))],
        aside=[("s 0", Ink.ASIDE)],
        marks=[Mark(0, "checkpoint"), Mark(8, "restart"), Mark(99, "restart")],
    )
    assert draw(plot, 28, 9, UNICODE).text() == GOLDEN


def test_ascii_charset_draws_ascii_only() -> None:
    lines = [line([1.0, math.nan, 5.0, 2.0], smoothing=0.5), line([2.0, 3.0, 2.0, 1.0], color=1)]
    plot = Plot(lines, crosshair=2.0, marks=[Mark(1, "checkpoint")])
    text = draw(plot, 40, 12, ASCII).text()
    assert text.isascii() and "o" in text and "x" in text
    assert sparkline([1, 2, math.nan, 3], 4, ASCII).isascii()


def test_crosshair_is_a_column_through_the_plot() -> None:
    plain = draw(Plot([line([0.0, 1.0, 0.0])]), 40, 12)
    crossed = draw(Plot([line([0.0, 1.0, 0.0])], crosshair=1.0), 40, 12)
    columns = {column for row, start, stop in changed_spans(plain, crossed) for column in range(start, stop)}
    assert len(columns) == 1


@given(
    st.lists(anything, max_size=60), st.sampled_from(Scale), st.one_of(st.none(), st.floats(-5, 70)), st.integers(4, 60)
)
def test_what_was_drawn_serves_every_crosshair_and_title(values, scale, at, width) -> None:
    plot = Plot([line(values, 0.9)], (("loss", Ink.NAME),), marks=(Mark(1.0, "restart"),), scale=scale, crosshair=2.0)
    other = replace(plot, title=(("loss 3", Ink.NAME),), crosshair=at)
    ground = Ground(plot, width, 12, UNICODE)
    before = ground.finished(plot)
    assert ground.serves(other, width, 12, UNICODE)
    assert changed_spans(draw(other, width, 12, UNICODE), ground.finished(other)) == []
    assert changed_spans(before, ground.finished(plot)) == []


def test_what_was_drawn_serves_nothing_else() -> None:
    plot = Plot([line([0.0, 1.0, 0.0], 0.9)])
    ground, (only,) = Ground(plot, 40, 12, UNICODE), plot.lines
    assert ground.serves(plot, 40, 12, UNICODE)
    for size in ((41, 12), (40, 11)):
        assert not ground.serves(plot, *size, UNICODE)
    assert not ground.serves(plot, 40, 12, ASCII)
    others = [
        *(replace(only, **{name: getattr(only, name).copy()}) for name in ("x", "y", "average")),
        *(replace(only, **{name: np.array([False, True, True])}) for name in ("breaks", "fair")),
        *(replace(only, average=None), replace(only, color=1), replace(only, joined=True)),
    ]
    changed: list[Plot] = [replace(plot, lines=lines) for lines in ([], [only, only], *([other] for other in others))]
    changed += [replace(plot, marks=(Mark(1.0, "restart"),)), replace(plot, level=1.0), replace(plot, scale=Scale.LOG)]
    changed += [replace(plot, x_name="tokens"), replace(plot, across=partial(x_axis, time=True))]
    changed += [replace(plot, x_range=(0.0, 1.0)), replace(plot, empty="")]
    for other in changed:
        assert not ground.serves(other, 40, 12, UNICODE), other


def test_smoothing_is_the_debiased_average_of_the_finite_values() -> None:
    generator = np.random.default_rng(7)
    values = generator.normal(size=500)
    values[[0, 3, 77]] = [math.nan, math.inf, math.nan]
    for weight in (0.5, 0.9, 0.999):
        expected, weighted, total = [], 0.0, 0.0
        for value in values.tolist():
            if math.isfinite(value):
                weighted, total = weight * weighted + value, weight * total + 1.0
                expected.append(weighted / total)
            else:
                expected.append(value)
        np.testing.assert_allclose(smooth(values, weight), expected, rtol=1e-9)


@settings(max_examples=100)
@given(st.lists(anything, max_size=300), st.sampled_from([0.0, 0.3, 0.97]))
def test_smoothing_stays_between_least_and_greatest(values, weight) -> None:
    numbers = np.clip(np.array(values, dtype=float), -1e300, 1e300)
    numbers[~np.isfinite(np.array(values, dtype=float))] = math.nan
    kept = numbers[np.isfinite(numbers)]
    result = smooth(numbers, weight)
    assert result.shape == numbers.shape
    if kept.size:
        slack = 1e-9 * max(1e-300, float(np.abs(kept).max()))
        shown = result[np.isfinite(numbers)]
        assert (shown >= kept.min() - slack).all() and (shown <= kept.max() + slack).all()


@given(st.lists(anything, max_size=100), st.integers(0, 30))
def test_sparkline_has_one_cell_per_value_up_to_its_width(values, width) -> None:
    text = sparkline(values, width, UNICODE)
    assert len(text) == min(len(values), width)
    assert set(text) <= set(UNICODE.spark + UNICODE.gap)
    if width and any(not math.isfinite(value) for value in values):
        assert UNICODE.gap in text


def test_sparkline_shapes() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, UNICODE) == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0] * 5, 3, UNICODE) in ("▄▄▄", "▅▅▅")
    assert sparkline([0] * 50 + [9] + [0] * 49, 10, UNICODE) == "▁▁▁▁▁█▁▁▁▁"


@pytest.mark.parametrize("text", ["loss\x1b[2J", "損失", "a\u202eb", "e\u0301"])
def test_names_from_outside_fill_one_cell_a_character(text) -> None:
    assert one_cell_each(text).isprintable()
    frame = draw(Plot([], title=[(text, Ink.NAME)]), 30, 5)
    assert all(len(cell) == 1 and cell.isprintable() for cell in frame.glyphs.ravel().tolist())
