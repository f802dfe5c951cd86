"""Rows whose columns change with the runs that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tui.widgets.row_table import Column, Row, RowTable


class CompareRows(RowTable):
    """A table that says better and worse in their colours too."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-table--better", "row-table--worse"}
    DEFAULT_CSS = """
    CompareRows {
        .row-table--better { color: $success; }
        .row-table--worse { color: $error; }
    }
    """

    @property
    def shown(self) -> set[str]:
        """The keys of the columns that there is room for."""
        return {column.key for column, _ in self._columns}

    def show_columns(self, columns: Sequence[Column], rows: Mapping[str, Row]) -> None:
        """Show rows of these columns."""
        if tuple(columns) != self._all_columns:
            self._all_columns, self._rows = tuple(columns), []
        self.show(rows)
        self.refresh()
