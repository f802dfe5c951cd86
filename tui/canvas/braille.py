"""Lines as dots: every dot column shows the least and the greatest value that the line takes in it.

A terminal cell holds 2 x 4 dots. A chart column is a half cell, so that a spike of one step among
100,000 stays visible: nothing is averaged and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.smoothing import Floats
from tui.canvas.charset import DOT_BITS

Dots = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

DOTS_ACROSS = 2
DOTS_DOWN = 4


@dataclass(frozen=True, slots=True, eq=False)
class Polyline:
    """Points joined by straight lines. x: [n] ascending; y: [n] finite; breaks: [n], true where no line leads to i."""

    x: Floats
    y: Floats
    breaks: Dots | None = None

    def part(self, chosen: slice) -> Polyline:
        """Return the points of a slice."""
        return Polyline(self.x[chosen], self.y[chosen], None if self.breaks is None else self.breaks[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class _Passage:
    """Where a polyline passes the dot columns. right: [edges], the point at or past each edge, or the last one."""

    right: NDArray[np.intp]
    share: Floats  # [edges], of the way to it from the point before
    crosses: Dots  # [edges], whether the line is there
    filled: NDArray[np.intp]  # columns that hold points
    starts: NDArray[np.intp]  # their first points
    end: int  # the point past the last one that a column holds

    @classmethod
    def of(cls, line: Polyline, edges: Floats) -> _Passage:
        """Return the passage of a line with at least one point."""
        after = np.searchsorted(line.x, edges, side="left")
        right = np.clip(after, 1, max(1, line.x.size - 1))
        if line.x.size == 1:
            share, crosses = np.zeros(edges.size), np.zeros(edges.size, np.bool_)
        else:
            x_left, x_right = line.x[right - 1], line.x[right]
            width = np.maximum(x_right - x_left, np.finfo(np.float64).tiny)
            share = np.clip((edges - x_left) / width, 0.0, 1.0)
            crosses = (edges >= x_left) & (edges <= x_right)
            if line.breaks is not None:
                crosses &= ~line.breaks[right]
        ends = after[1:].copy()
        ends[-1] = np.searchsorted(line.x, edges[-1], side="right")
        filled = np.flatnonzero(ends > after[:-1])
        return cls(right, share, crosses, filled, after[:-1][filled], int(ends[filled[-1]]) if filled.size else 0)


def extremes(lines: Sequence[Polyline], edges: Floats, heights: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Return the least and the greatest height of polylines in each dot column, NaN where one does not pass.

    edges: [columns + 1]; column c holds edges[c] ≤ x < edges[c + 1], the last one its right edge too; points
    outside only serve to enter and to leave. heights: monotone map of y to 0..1, in which lines are straight.
    Exact: within a column a polyline is extreme at its points or at the column's edges. Both are [lines, columns].
    """
    count, columns = len(lines), edges.size - 1
    beside, share = np.zeros((2, count, columns + 1)), np.zeros((count, columns + 1))
    crosses, within = np.zeros((count, columns + 1), np.bool_), np.zeros((2, count, columns))
    filled = np.zeros((count, columns), np.bool_)
    passage = None
    for row, line in enumerate(lines):
        if not line.x.size:
            continue
        if passage is None or line.x is not lines[row - 1].x:
            passage = _Passage.of(line, edges)
        share[row], crosses[row] = passage.share, passage.crosses
        if line.x.size > 1:
            beside[0, row], beside[1, row] = line.y[passage.right - 1], line.y[passage.right]
        if passage.filled.size:
            values, filled[row, passage.filled] = line.y[: passage.end], True
            within[0, row, passage.filled] = np.minimum.reduceat(values, passage.starts)
            within[1, row, passage.filled] = np.maximum.reduceat(values, passage.starts)
    left, right = np.where(crosses, heights(beside), 0.0)
    at_edge = np.where(crosses, left + share * (right - left), np.nan)
    least, greatest = np.where(filled, heights(within), np.nan)
    low = np.fmin(np.fmin(at_edge[:, :-1], at_edge[:, 1:]), least)
    high = np.fmax(np.fmax(at_edge[:, :-1], at_edge[:, 1:]), greatest)
    return low, high


def rows_of(fraction: Floats, dot_rows: int) -> NDArray[np.int64]:
    """Return the dot row, counted from the top, of heights 0 (bottom) to 1 (top); beyond them, the border row."""
    height = (1.0 - np.clip(fraction, 0.0, 1.0)) * (dot_rows - 1)
    # rounded twice, so that the last digits of an average do not bend a flat line
    return np.rint(np.round(height, 6)).astype(np.int64)


def fill(low: Floats, high: Floats, rows: int) -> Dots:
    """Light in each dot column the dots from `low` to `high` (heights 0 to 1).

    [..., columns] → [..., 4·rows, columns].
    """
    drawn = ~np.isnan(low)
    dot_rows = rows * DOTS_DOWN
    top = np.where(drawn, rows_of(np.where(drawn, high, 0.0), dot_rows), dot_rows)[..., None, :]
    bottom = np.where(drawn, rows_of(np.where(drawn, low, 0.0), dot_rows), -1)[..., None, :]
    row = np.arange(dot_rows)[:, None]
    lit: Dots = (row >= top) & (row <= bottom)
    return lit


def pack(dots: Dots) -> Bytes:
    """Return the dot pattern (0 to 255) of each cell. dots: [..., 4·rows, 2·columns] → [..., rows, columns]."""
    rows, columns = dots.shape[-2] // DOTS_DOWN, dots.shape[-1] // DOTS_ACROSS
    cells = dots.reshape(*dots.shape[:-2], rows, DOTS_DOWN, columns, DOTS_ACROSS)
    patterns: Bytes = np.einsum("...rdca,da->...rc", cells.view(np.uint8), DOT_BITS)
    return patterns
