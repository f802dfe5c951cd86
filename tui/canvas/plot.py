"""A chart as a grid of cells: series, axes, marks and crosshair put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.axis import Axis, Scale, in_whole_rows, x_axis, y_axis
from engine.telemetry.smoothing import Floats
from tui.canvas import braille
from tui.canvas.braille import Polyline
from tui.canvas.charset import Charset, current
from tui.canvas.frame import SERIES_INKS, Frame, Ink, Span, band_ink, line_ink
from tui.canvas.title import fitted

__all__ = ["Line", "Mark", "Plot", "Span", "draw", "nearest_index"]

_CLIP_SHARE = 0.01  # of the values left out at each end by Scale.CLIP
_MIN_GUTTER = 5
_MIN_COLUMNS = 4
_ROWS_AROUND = 3  # title, axis, labels of the axis
_OF_GROUND = ("marks", "level", "scale", "x_name", "across", "x_range", "empty")


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series. x: [n] ascending; y: [n], NaN and infinities leave a gap; breaks: [n], true where none leads to i."""

    name: str
    x: Floats
    y: Floats
    color: int = 0
    average: Floats | None = None  # [n], the line; with it the values become a dim band behind it
    breaks: braille.Dots | None = None
    joined: bool = False  # also where it is not the first one and has few points
    fair: braille.Dots | None = None  # [n], those points that were not chosen by their value; null: all

    def looks_like(self, other: Line) -> bool:
        """Tell whether it is drawn as another one is. The same points are the same arrays."""
        return (
            (self.x is other.x and self.y is other.y and self.average is other.average)
            and (self.color, self.joined) == (other.color, other.joined)
            and _equal(self.breaks, other.breaks)
            and _equal(self.fair, other.fair)
        )


def _equal(some: braille.Dots | None, others: braille.Dots | None) -> bool:
    return some is others or (some is not None and others is not None and np.array_equal(some, others))


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at x, shown on the axis row by a glyph of the charset."""

    x: float
    kind: str  # "restart", "rollback" or "checkpoint"


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """All that a chart shows."""

    lines: Sequence[Line]
    title: Sequence[Span] = ()
    aside: Sequence[Span] = ()  # at the right end of the title row
    marks: Sequence[Mark] = ()
    level: float | None = None  # that the first line is held against
    scale: Scale = Scale.LINEAR
    x_name: str = "step"
    across: Callable[[float, float, int], Axis] = x_axis  # the axis of a span, with about so many ticks
    x_range: tuple[float, float] | None = None  # null: all points
    crosshair: float | None = None
    empty: str = "no points yet"


@dataclass(frozen=True, slots=True, eq=False)
class _Visible:
    """The finite points of a line that the window shows, with one neighbour on each side."""

    color: int
    raw: Polyline
    smoothed: Polyline
    banded: bool
    joined: bool
    inside: slice  # of the points within the window proper
    fair: braille.Dots | None  # which of its points were not chosen by their value; null: all
    lost: Floats  # x of the values that are not finite


def draw(plot: Plot, width: int, height: int, charset: Charset | None = None) -> Frame:
    """Draw a chart of `width` x `height` cells: title, plot, axis and its labels, one row each but the plot."""
    return Ground(plot, width, height, charset or current()).finished(plot)


class Ground:
    """All of a chart but title and crosshair, drawn once for all plots that have it in common."""

    def __init__(self, plot: Plot, width: int, height: int, charset: Charset) -> None:
        self._plot, self._size, self._charset = plot, (width, height), charset
        self._visible: list[_Visible] = []
        self._frame = self._drawn(Frame.blank(width, height), plot)

    def serves(self, plot: Plot, width: int, height: int, charset: Charset) -> bool:
        """Tell whether a chart of so many cells has this ground. The same points are the same arrays."""
        mine = self._plot
        return (
            (width, height) == self._size
            and charset is self._charset
            and all(getattr(plot, name) == getattr(mine, name) for name in _OF_GROUND)
            and len(plot.lines) == len(mine.lines)
            and all(new.looks_like(old) for new, old in zip(plot.lines, mine.lines, strict=True))
        )

    def finished(self, plot: Plot) -> Frame:
        """Return the chart of a plot that it serves."""
        ground = self._frame
        frame = replace(ground, glyphs=ground.glyphs.copy(), inks=ground.inks.copy())
        _draw_title(frame, plot, self._charset)
        at, x, y = plot.crosshair, frame.x, frame.y
        if at is not None and x is not None and y is not None and x.low <= at <= x.high:
            _Painter(frame, x, y, self._charset).crosshair(at, self._visible)
        return frame

    def _drawn(self, frame: Frame, plot: Plot) -> Frame:
        width, height = self._size
        rows = height - _ROWS_AROUND
        window = plot.x_range or _x_extent(plot.lines)
        if window is None:
            if height > 1:
                frame.put(height // 2, max(0, (width - len(plot.empty)) // 2), plot.empty, Ink.LABEL)
            return frame
        if rows < 1:
            return frame
        x = plot.across(*window, min(8, max(2, (width - 8) // 6)))
        if plot.x_range is not None:
            x = replace(x, low=window[0], high=window[1], ticks=_between(x.ticks, *window))
        visible = [_visible(line, x, plot.scale) for line in plot.lines if line.x.size]
        y = y_axis(*_y_extent(visible, plot.scale, plot.level), plot.scale, max(1, min(5 + rows // 12, rows // 2)))
        y = in_whole_rows(y, rows - 1 / braille.DOTS_DOWN)
        left = 1 + max([_MIN_GUTTER, *(len(label) for _, label in y.ticks)])
        columns = width - left - 1
        if columns < _MIN_COLUMNS:
            return frame
        frame = replace(frame, x=x, y=y, left=left, columns=columns, rows=rows)
        painter = _Painter(frame, x, y, self._charset)
        painter.axes(plot.x_name)
        if plot.level is not None:
            painter.level(plot.level)
        painter.lines(visible)
        painter.marks(plot.marks, visible)
        self._visible = visible
        return frame


def nearest_index(x: Floats, at: float) -> int | None:
    """Return the index of the point nearest to `at`, the earlier one of two; null for no points. x: [n] ascending."""
    if not x.size:
        return None
    right = int(np.searchsorted(x, at, side="left"))
    if right == 0:
        return 0
    if right == x.size or at - x[right - 1] <= x[right] - at:
        return right - 1
    return right


def next_point(x: Floats, at: float, step: float, direction: int) -> float:
    """Return the point nearest to a step on (1) or back (-1), at least one point on. x: [n] ascending, n > 0."""
    nearest, there = nearest_index(x, at) or 0, nearest_index(x, at + direction * step) or 0
    if (there - nearest) * direction <= 0:
        there = nearest + direction
    return float(x[min(max(there, 0), x.size - 1)])


def _between(ticks: tuple[tuple[float, str], ...], low: float, high: float) -> tuple[tuple[float, str], ...]:
    return tuple(tick for tick in ticks if low <= tick[0] <= high)


def _draw_title(frame: Frame, plot: Plot, glyphs: Charset) -> None:
    width = frame.glyphs.shape[1]
    frame.put(0, 0, glyphs.rule * (width - 1), Ink.AXIS)
    aside = sum(len(text) for text, _ in plot.aside)
    shown = fitted(plot.title, width - 4)
    title = sum(len(text) for text, _ in shown)
    if plot.title:
        column = frame.put(0, 1, " ", Ink.BLANK)
        for text, ink in shown:
            column = frame.put(0, column, text, ink, end=width - 2)
        frame.put(0, column, " ", Ink.BLANK, end=width - 1)
    if aside and title + aside <= width - 7:
        column = frame.put(0, width - aside - 4, " ", Ink.BLANK)
        for text, ink in plot.aside:
            column = frame.put(0, column, text, ink)
        frame.put(0, column, " ", Ink.BLANK)


def _x_extent(lines: Sequence[Line]) -> tuple[float, float] | None:
    ends = [(float(line.x[0]), float(line.x[-1])) for line in lines if line.x.size]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _visible(line: Line, x: Axis, scale: Scale) -> _Visible:
    finite = np.isfinite(line.y)
    lost = line.x[~finite] if not finite.all() else np.empty(0)
    shown = finite
    average = line.y if line.average is None else line.average
    if scale is Scale.LOG:
        positive = finite & (line.y > 0) & (average > 0)
        # the axis of a line without any positive value is linear
        shown = positive if positive.any() else finite
    whole, fair = Polyline(line.x, line.y, line.breaks), line.fair
    if not shown.all():
        kept = np.flatnonzero(shown)
        breaks = np.diff(kept, prepend=kept[:1]) > 1
        if line.breaks is not None:
            breaks |= np.diff(np.cumsum(line.breaks)[kept], prepend=0) > 0
        whole, average = Polyline(line.x[kept], line.y[kept], breaks), average[kept]
        fair = None if fair is None else fair[kept]
    first = int(np.searchsorted(whole.x, x.low, side="left"))
    last = int(np.searchsorted(whole.x, x.high, side="right"))
    start = max(0, first - 1)
    part = slice(start, last + 1)
    raw = whole.part(part)
    return _Visible(
        color=line.color % SERIES_INKS,
        raw=raw,
        smoothed=replace(raw, y=average[part]),
        banded=line.average is not None,
        joined=line.joined or line.color == 0,
        inside=slice(first - start, last - start),
        fair=None if fair is None else fair[part],
        lost=lost[(lost >= x.low) & (lost <= x.high)],
    )


def _y_extent(visible: Sequence[_Visible], scale: Scale, level: float | None) -> tuple[float, float]:
    ends: list[tuple[float, float]] = [] if level is None else [(level, level)]
    for line in visible:
        values = line.raw.y[line.inside]
        if not values.size:
            continue
        fair = values if line.fair is None else values[line.fair[line.inside]]
        if scale is Scale.CLIP and fair.size > 1 / _CLIP_SHARE:
            low, high = np.quantile(np.clip(fair, -1e300, 1e300), [_CLIP_SHARE, 1 - _CLIP_SHARE]).tolist()
        else:
            low, high = float(values.min()), float(values.max())
        ends.append((low, high))
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 1.0)


class _Painter:
    """Puts the parts of a chart into the cells of a frame whose plot area is laid out."""

    def __init__(self, frame: Frame, x: Axis, y: Axis, charset: Charset) -> None:
        area = (slice(frame.top, frame.top + frame.rows), slice(frame.left, frame.left + frame.columns))
        self.frame, self.x, self.y, self.charset = frame, x, y, charset
        self.glyphs, self.inks = frame.glyphs[area], frame.inks[area]

    def axes(self, x_name: str) -> None:
        frame, charset = self.frame, self.charset
        spine, axis_row = frame.left - 1, frame.top + frame.rows
        for row in range(frame.top, axis_row):
            frame.put(row, spine, charset.y_axis, Ink.AXIS)
        taken: set[int] = set()
        heights = self.y.fraction(np.array([value for value, _ in self.y.ticks]))
        for (_, label), height in zip(self.y.ticks, self._rows(heights), strict=True):
            row = frame.top + height
            if row not in taken:
                taken.add(row)
                frame.put(row, spine - len(label), label, Ink.LABEL)
                frame.put(row, spine, charset.y_tick, Ink.AXIS)
        frame.put(axis_row, spine, charset.corner + charset.x_axis * frame.columns, Ink.AXIS)
        end = frame.left + frame.columns
        name_at, free = end - len(x_name), spine
        for value, label in self.x.ticks:
            column = frame.left + self._column(value)
            frame.put(axis_row, column, charset.x_tick, Ink.AXIS)
            start = min(max(column - len(label) // 2, spine), end - len(label))
            if start >= free:
                free = frame.put(axis_row + 1, start, label, Ink.LABEL) + 1
        if name_at >= free:
            frame.put(axis_row + 1, name_at, x_name, Ink.ASIDE)

    def level(self, value: float) -> None:
        """Draw a line from end to end, under all others."""
        row = self._rows(self.y.fraction(np.array([value])))[0]
        self.glyphs[row, :], self.inks[row, :] = self.charset.level, Ink.MARK

    def lines(self, visible: Sequence[_Visible]) -> None:
        """Bands first, then lines, so that no band hides a line; where two lines share a cell, both keep their dots.

        A few points beside a first line are not joined: a line over the first one would hide it.
        """
        drawn: list[tuple[_Visible, bool]] = []  # and whether it is its band
        for line in visible:
            drawn += [(line, True)] if line.banded else []
            drawn += [(line, False)] if line.joined or not self._is_sparse(line) else []
        patterns = self._dots([line.raw if is_band else line.smoothed for line, is_band in drawn])
        joined = {}
        for (line, is_band), dots in zip(drawn, patterns, strict=True):
            if is_band:
                lit = dots > 0
                self.glyphs[lit], self.inks[lit] = self.charset.band[dots[lit]], band_ink(line.color)
            else:
                joined[id(line)] = dots
        together = np.zeros(self.glyphs.shape, np.uint8)
        for line in visible:
            if id(line) in joined:
                lit = joined[id(line)] > 0
                together |= joined[id(line)]
                self.glyphs[lit], self.inks[lit] = self.charset.line[together[lit]], line_ink(line.color)
            self._markers(line)

    def marks(self, marks: Sequence[Mark], visible: Sequence[_Visible]) -> None:
        """Put marks on the axis row; a restart hides a checkpoint in the same cell, a lost value hides all."""
        row = self.frame.top + self.frame.rows
        kinds = {
            "checkpoint": self.charset.checkpoint,
            "rollback": self.charset.rollback,
            "restart": self.charset.restart,
        }
        for kind, glyph in kinds.items():
            for mark in marks:
                if mark.kind == kind and self.x.low <= mark.x <= self.x.high:
                    self.frame.put(row, self.frame.left + self._column(mark.x), glyph, Ink.MARK)
        for line in visible:
            for column in np.unique(self._columns(line.lost)).tolist():
                self.frame.put(row, self.frame.left + column, self.charset.gap, Ink.NOTICE)

    def crosshair(self, at: float, visible: Sequence[_Visible]) -> None:
        column = self._column(at)
        empty = self.inks[:, column] == Ink.BLANK
        self.glyphs[empty, column], self.inks[empty, column] = self.charset.crosshair, Ink.CROSSHAIR
        for line in visible:
            nearest = nearest_index(line.raw.x, at)
            if nearest is not None and self._column(float(line.raw.x[nearest])) == column:
                row = self._rows(self.y.fraction(line.raw.y[nearest : nearest + 1]))[0]
                self.glyphs[row, column] = self.charset.markers[line.color]
                self.inks[row, column] = line_ink(line.color)

    def _markers(self, line: _Visible) -> None:
        """Mark the points of a sparse series, and now and then those of every series but the first."""
        x, y = line.smoothed.x[line.inside], line.smoothed.y[line.inside]
        columns, sparse = self.frame.columns, self._is_sparse(line)
        if not sparse and line.color == 0:
            return
        if not sparse:
            # the first point of each column, without a look at all of them
            firsts = np.unique(np.searchsorted(x, np.linspace(self.x.low, self.x.high, columns, endpoint=False)))
            firsts = firsts[firsts < x.size]
            cells = self._columns(x[firsts])
            chosen = (cells - 3 * line.color) % max(8, columns // 5) == 0
            cells, y = cells[chosen], y[firsts][chosen]
        else:
            cells = self._columns(x)
        rows = self._rows(self.y.fraction(y))
        self.glyphs[rows, cells] = self.charset.markers[line.color]
        self.inks[rows, cells] = line_ink(line.color)

    def _is_sparse(self, line: _Visible) -> bool:
        count: int = line.inside.stop - line.inside.start
        return count <= (2 if line.joined else self.frame.columns)

    def _dots(self, lines: Sequence[Polyline]) -> braille.Bytes:
        """Return the patterns of lines. [lines, rows, columns]."""
        edges = np.linspace(self.x.low, self.x.high, self.frame.columns * braille.DOTS_ACROSS + 1)
        low, high = braille.extremes(lines, edges, self.y.fraction)
        return braille.pack(braille.fill(low, high, self.frame.rows))

    def _rows(self, heights: Floats) -> list[int]:
        rows: list[int] = (braille.rows_of(heights, self.frame.rows * braille.DOTS_DOWN) // braille.DOTS_DOWN).tolist()
        return rows

    def _columns(self, x: Floats) -> NDArray[np.int64]:
        return np.clip(self.x.fraction(x) * self.frame.columns, 0, self.frame.columns - 1).astype(np.int64)

    def _column(self, x: float) -> int:
        return int(self._columns(np.array([x]))[0])
