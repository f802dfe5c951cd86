"""A table of a comparison: a row a key or metric, a column a run; and the words that say a row in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tui.text.wrapping import Line
from tui.widgets.row_table import Column, Row

QUIET = "$foreground 60%"


@dataclass(frozen=True, slots=True)
class Table:
    """What is shown at one width."""

    columns: Sequence[Column] = ()
    rows: Mapping[str, Row] = field(default_factory=dict)
    told: Callable[[str], Sequence[Line]] = lambda key: ()  # a row in full, by its key
    note: str = ""  # how many rows there are, and of what
    empty: str = ""  # said where there is no row
    document: Mapping[str, Sequence[object]] = field(default_factory=dict)  # the values, for a file
