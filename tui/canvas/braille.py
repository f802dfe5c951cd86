"""Lines as dots: every dot column shows the least and the greatest value that the line takes in it.

A terminal cell holds 2 x 4 dots. A chart column is a half cell, so that a spike of one step among
100,000 stays visible: nothing is averaged and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable
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


def extremes(line: Polyline, edges: Floats, heights: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Return the least and the greatest height of a polyline in each dot column, NaN where it does not pass.

    edges: [columns + 1]; column c holds edges[c] ≤ x < edges[c + 1], the last one its right edge too; points
    outside only serve to enter and to leave. heights: monotone map of y to 0..1, in which lines are straight.
    Exact: within a column a polyline is extreme at its points or at the column's edges.
    """
    low = np.full(edges.size - 1, np.nan)
    if not line.x.size:
        return low, low.copy()
    after = np.searchsorted(line.x, edges, side="left")  # first point at or past each edge
    at_edge = _on_line(line, edges, after, heights)
    low = np.fmin(at_edge[:-1], at_edge[1:])
    high = np.fmax(at_edge[:-1], at_edge[1:])
    ends = after[1:].copy()
    ends[-1] = np.searchsorted(line.x, edges[-1], side="right")
    filled = np.flatnonzero(ends > after[:-1])
    if filled.size:
        values = line.y[: int(ends[filled[-1]])]
        starts = after[:-1][filled]
        low[filled] = np.fmin(low[filled], heights(np.minimum.reduceat(values, starts)))
        high[filled] = np.fmax(high[filled], heights(np.maximum.reduceat(values, starts)))
    return low, high


def _on_line(line: Polyline, edges: Floats, after: NDArray[np.intp], heights: Callable[[Floats], Floats]) -> Floats:
    """Return the height at which the polyline crosses each edge, NaN where it does not."""
    if line.x.size == 1:
        return np.full(edges.size, np.nan)
    right = np.clip(after, 1, line.x.size - 1)
    left = right - 1
    x_left, x_right = line.x[left], line.x[right]
    width = np.maximum(x_right - x_left, np.finfo(np.float64).tiny)
    share = np.clip((edges - x_left) / width, 0.0, 1.0)
    crosses = (edges >= x_left) & (edges <= x_right)
    if line.breaks is not None:
        crosses &= ~line.breaks[right]
    start, end = heights(line.y[left]), heights(line.y[right])
    return np.where(crosses, start + share * (end - start), np.nan)


def rows_of(fraction: Floats, dot_rows: int) -> NDArray[np.int64]:
    """Return the dot row, counted from the top, of heights 0 (bottom) to 1 (top); beyond them, the border row."""
    height = (1.0 - np.clip(fraction, 0.0, 1.0)) * (dot_rows - 1)
    # rounded twice, so that the last digits of an average do not bend a flat line
    return np.rint(np.round(height, 6)).astype(np.int64)


def fill(low: Floats, high: Floats, rows: int) -> Dots:
    """Light in each dot column the dots from `low` to `high` (heights 0 to 1). Returns [4·rows, columns]."""
    drawn = ~np.isnan(low)
    dot_rows = rows * DOTS_DOWN
    top = np.where(drawn, rows_of(np.nan_to_num(high), dot_rows), dot_rows)
    bottom = np.where(drawn, rows_of(np.nan_to_num(low), dot_rows), -1)
    row = np.arange(dot_rows)[:, None]
    lit: Dots = (row >= top) & (row <= bottom)
    return lit


def pack(dots: Dots) -> Bytes:
    """Return the dot pattern (0 to 255) of each cell. dots: [4·rows, 2·columns] → [rows, columns]."""
    rows, columns = dots.shape[0] // DOTS_DOWN, dots.shape[1] // DOTS_ACROSS
    cells = dots.reshape(rows, DOTS_DOWN, columns, DOTS_ACROSS)
    patterns: Bytes = np.einsum("rdca,da->rc", cells.astype(np.uint8), DOT_BITS)
    return patterns
