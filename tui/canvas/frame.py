"""A drawn chart: a grid of glyphs and of inks, and what differs between two of them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.axis import Axis

SERIES_INKS = 8
_JOIN_WITHIN = 8  # cells: two changes nearer than this cost less as one


Span = tuple[str, int]  # text and its ink


class Ink(IntEnum):
    """What a cell shows; the widget gives each a style. Series have their own: `line_ink`, `band_ink`."""

    BLANK = 0
    AXIS = 1
    LABEL = 2
    NAME = 3
    ASIDE = 4
    NOTICE = 5
    CROSSHAIR = 6
    MARK = 7
    LINE = 16
    BAND = 32


def line_ink(color: int) -> int:
    """Return the ink of a series' line, marker and value."""
    return Ink.LINE + color % SERIES_INKS


def band_ink(color: int) -> int:
    """Return the ink of the raw values behind a smoothed line."""
    return Ink.BAND + color % SERIES_INKS


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A drawn chart. glyphs: [height, width] of one character; inks: [height, width].

    The plot area begins at (`top`, `left`) and has `rows` x `columns` cells; without axes it has none.
    """

    glyphs: NDArray[np.str_]
    inks: NDArray[np.uint8]
    x: Axis | None = None
    y: Axis | None = None
    left: int = 0
    columns: int = 0
    top: int = 1
    rows: int = 0

    @classmethod
    def blank(cls, width: int, height: int) -> Frame:
        """Return a frame of spaces, at least one cell large."""
        shape = (max(height, 1), max(width, 1))
        return cls(np.full(shape, " "), np.zeros(shape, np.uint8))

    def put(self, row: int, column: int, text: str, ink: int, end: int | None = None) -> int:
        """Write text, cut off at `end`; returns the column after it."""
        height, width = self.glyphs.shape
        room = (width if end is None else end) - column
        text = one_cell_each(text)[: max(0, room)]
        if text and 0 <= row < height:
            self.glyphs[row, column : column + len(text)] = list(text)
            self.inks[row, column : column + len(text)] = ink
        return column + len(text)

    def text(self) -> str:
        """Return the glyphs as lines of text."""
        return "\n".join("".join(row).rstrip() for row in self.glyphs)


def one_cell_each(text: str) -> str:
    """Replace what does not fill exactly one cell: wide, combining and control characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() and unicodedata.east_asian_width(char) not in "WF" and not unicodedata.combining(char)
        else "?"
        for char in text
    )


def changed_spans(before: Frame | None, after: Frame) -> list[tuple[int, int, int]]:
    """Return (row, first column, past last column) of each run of cells that differ; nearby runs are joined."""
    height, width = after.glyphs.shape
    if before is None or before.glyphs.shape != after.glyphs.shape:
        return [(row, 0, width) for row in range(height)]
    differs = (before.glyphs != after.glyphs) | (before.inks != after.inks)
    spans = []
    for row in np.flatnonzero(differs.any(axis=1)).tolist():
        columns = np.flatnonzero(differs[row])
        parts = np.split(columns, np.flatnonzero(np.diff(columns) > _JOIN_WITHIN) + 1)
        spans += [(row, int(part[0]), int(part[-1]) + 1) for part in parts]
    return spans


def runs(inks: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """Return (first, past last, ink) of each run of one ink in a row. inks: [width]."""
    edges = [0, *(np.flatnonzero(np.diff(inks)) + 1).tolist(), inks.size]
    return [(start, stop, int(inks[start])) for start, stop in pairwise(edges)]
