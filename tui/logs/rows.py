"""Which piece of which line of a log stands in each row: lines left out, wrapped, and marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the view."""

    line: int  # index
    first: int  # cell of the line that the row begins with
    is_mark: bool = False  # the rule below a marked line


class LogRows:
    """The rows of some lines.

    Arguments:
        lines: all of them.
        chosen: indices of those that are shown, ascending; null for all.
        width: cells of a row into which lines are wrapped; null lets them run on.
        marked: indices of lines with a rule below.
    """

    def __init__(
        self, lines: Sequence[str], chosen: Sequence[int] | None, width: int | None, marked: Collection[int]
    ) -> None:
        self._chosen = np.arange(len(lines)) if chosen is None else np.array(chosen, np.int64)
        self._width = width
        self._marked = marked
        if width is None and not marked:
            heights = np.ones(self._chosen.size, np.int64)
        else:
            heights = np.array([self._height(lines[index], index) for index in self._chosen.tolist()], np.int64)
        self._ends = np.cumsum(heights)
        self.widest = (
            0 if width is not None else max((cell_len(lines[index]) for index in self._chosen.tolist()), default=0)
        )

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._ends.size else 0

    def row(self, number: int) -> Row:
        """Return what stands in a row."""
        place = int(np.searchsorted(self._ends, number, side="right"))
        line = int(self._chosen[place])
        before = int(self._ends[place - 1]) if place else 0
        if line in self._marked and number == int(self._ends[place]) - 1:
            return Row(line, 0, is_mark=True)
        return Row(line, (number - before) * (self._width or 0))

    def first_row_of(self, line: int) -> int:
        """Return the row in which a line begins; of one that is left out, that of the next one."""
        place = int(np.searchsorted(self._chosen, line, side="left"))
        return int(self._ends[place - 1]) if place else 0

    def _height(self, line: str, index: int) -> int:
        wrapped = 1 if self._width is None else max(1, -(-cell_len(line) // max(1, self._width)))
        return wrapped + (index in self._marked)
