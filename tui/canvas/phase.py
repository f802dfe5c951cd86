"""Paths in a plane: two values against each other, over the steps at which both were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.axis import Axis
from engine.telemetry.smoothing import Floats
from tui.canvas import braille
from tui.canvas.charset import Charset, current
from tui.canvas.frame import SERIES_INKS, Frame, Ink, Span, band_ink, line_ink
from tui.canvas.plot import Line, Plot, draw


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """One run. x, y: [n] values at the same steps, in the order of steps, finite. step: [n].

    averages: x and y of the line, each [n]; null: it goes through the values.
    """

    letter: str
    x: Floats
    y: Floats
    step: NDArray[np.int64]
    color: int = 0
    averages: tuple[Floats, Floats] | None = None

    @property
    def line(self) -> Path:
        """The path of the averages."""
        return self if self.averages is None else replace(self, x=self.averages[0], y=self.averages[1])


@dataclass(frozen=True, slots=True, eq=False)
class PhasePlot:
    """All that a chart of paths shows."""

    paths: Sequence[Path]
    title: Sequence[Span] = ()
    x_name: str = ""
    level: float | None = None  # an x that the runs aim at
    at_step: int | None = None  # each path has a mark there
    empty: str = "no points yet"


def draw_phase(plot: PhasePlot, width: int, height: int, charset: Charset | None = None) -> Frame:
    """Draw the paths, each with its letter at its end, over the cloud of the values as they were measured."""
    glyphs = charset or current()
    raw = [path for path in plot.paths if path.x.size]
    frame = draw(_ground(plot, raw), width, height, glyphs)
    if frame.x is None or frame.y is None or not raw:
        return frame
    painter = _Painter(frame, frame.x, frame.y, glyphs)
    if plot.level is not None:
        painter.level(plot.level)
    lines = [path.line for path in raw]
    for path in raw:
        painter.cloud(path)
    for path in lines:
        painter.line(path)
    for path in lines:
        painter.mark(path, plot.at_step)
    return frame


def _ground(plot: PhasePlot, paths: Sequence[Path]) -> Plot:
    """Return the plot that has the axes: its only points are the corners of what the paths cover."""
    shown: list[Line] = []
    if paths:
        x = [float(end) for path in paths for end in (path.x.min(), path.x.max())]
        y = [float(end) for path in paths for end in (path.y.min(), path.y.max())]
        if plot.level is not None:
            x.append(plot.level)
        shown = [Line("", np.array([min(x), max(x)]), np.array([min(y), max(y)]))]
    return Plot(lines=shown, title=plot.title, x_name=plot.x_name, empty=plot.empty)


class _Painter:
    """Puts paths into the cells between the axes of a frame, which it empties first."""

    def __init__(self, frame: Frame, x: Axis, y: Axis, charset: Charset) -> None:
        area = (slice(frame.top, frame.top + frame.rows), slice(frame.left, frame.left + frame.columns))
        self.x, self.y, self.charset = x, y, charset
        self.rows, self.columns = frame.rows, frame.columns
        self.glyphs, self.inks = frame.glyphs[area], frame.inks[area]
        self.glyphs[:], self.inks[:] = " ", Ink.BLANK

    def level(self, value: float) -> None:
        """Draw an upright line from end to end."""
        column = int(self._across(np.array([value]))[0]) // braille.DOTS_ACROSS
        self.glyphs[:, column], self.inks[:, column] = self.charset.crosshair, Ink.MARK

    def cloud(self, path: Path) -> None:
        """Draw the points alone."""
        self._dots(*self._places(path), self.charset.band, band_ink(path.color))

    def line(self, path: Path) -> None:
        """Draw straight lines from point to point."""
        self._dots(*_joined(*self._places(path)), self.charset.line, line_ink(path.color))

    def mark(self, path: Path, step: int | None) -> None:
        """Put the marker at a step, without one at the end, and the letter beside it."""
        across, down = self._places(path)
        at = path.x.size - 1 if step is None else int(np.abs(path.step - step).argmin())
        row, column = int(down[at]) // braille.DOTS_DOWN, int(across[at]) // braille.DOTS_ACROSS
        beside = column + 1 if column + 1 < self.columns else column - 1
        for place, glyph in ((beside, path.letter), (column, self.charset.markers[path.color % SERIES_INKS])):
            self.glyphs[row, place], self.inks[row, place] = glyph, line_ink(path.color)

    def _dots(self, across: Floats, down: Floats, glyphs: NDArray[np.str_], ink: int) -> None:
        lit = np.zeros((self.rows * braille.DOTS_DOWN, self.columns * braille.DOTS_ACROSS), np.bool_)
        lit[np.rint(down).astype(np.int64), np.rint(across).astype(np.int64)] = True
        patterns = braille.pack(lit)
        filled = patterns > 0
        self.glyphs[filled], self.inks[filled] = glyphs[patterns[filled]], ink

    def _across(self, x: Floats) -> Floats:
        dots = self.columns * braille.DOTS_ACROSS
        places: Floats = np.clip(self.x.fraction(x) * dots, 0, dots - 1)
        return places

    def _places(self, path: Path) -> tuple[Floats, Floats]:
        """Return the dot column and the dot row of each point."""
        down = braille.rows_of(self.y.fraction(path.y), self.rows * braille.DOTS_DOWN)
        return self._across(path.x), down.astype(np.float64)


def _joined(across: Floats, down: Floats) -> tuple[Floats, Floats]:
    """Return dots along the straight lines from point to point, near enough to leave no gap."""
    if across.size < 2:
        return across, down
    lengths = np.maximum(np.abs(np.diff(across)), np.abs(np.diff(down)))
    counts = np.maximum(1, np.ceil(lengths)).astype(np.int64)
    piece = np.repeat(np.arange(counts.size), counts)
    share = (np.arange(piece.size) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[piece]
    along = across[piece] + share * np.diff(across)[piece], down[piece] + share * np.diff(down)[piece]
    return np.append(along[0], across[-1]), np.append(along[1], down[-1])
