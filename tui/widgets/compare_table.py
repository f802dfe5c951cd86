"""A table of a comparison, made anew for its width, and below it the row under the cursor in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from tui.comparison.compared import Compared
from tui.comparison.exporting import of_table
from tui.comparison.reading import ComparedRun
from tui.comparison.table import Table
from tui.text.wrapping import wrapped
from tui.widgets.compare_pane import ComparePane
from tui.widgets.compare_rows import CompareRows
from tui.widgets.row_table import RowTable
from tui.widgets.telling import Changed

if TYPE_CHECKING:
    from engine.store.database import Store

Make = Callable[[Sequence[ComparedRun], int, int, bool], Table]


class CompareTable(Vertical, ComparePane):
    """`make` gives the table of runs for a width; the row under the cursor is told in full where there is room."""

    DEFAULT_CSS = """
    CompareTable {
        height: 1fr;
        #told {
            height: auto;
            max-height: 50%;
            padding: 0 1;
            border-top: solid $border-blurred;
        }
        #nothing { display: none; height: 1fr; width: 100%; content-align: center middle; color: $foreground 75%; }
        &.-nothing #nothing { display: block; }
        &.-nothing #told, &.-nothing CompareRows { display: none; }
    }
    """

    def __init__(self, make: Make, *, id: str | None = None) -> None:
        """make: of the runs, a width, the run that stays where there is no room for all, and whether all is wanted."""
        super().__init__(id=id)
        self._make = make
        self._runs: Sequence[ComparedRun] = ()
        self._first = 0
        self._all = False
        self._made_of: list[object] = []  # the table that is shown
        self.table = Table()
        self._rows = CompareRows(())
        self._told = Static(id="told", markup=False)
        self._nothing = Static(id="nothing", markup=False)

    def compose(self) -> ComposeResult:
        yield self._rows
        yield self._nothing
        yield self._told

    def show_compared(self, compared: Compared, other: int) -> None:
        """Show the runs."""
        self._runs = compared.runs
        self._again()

    def facts(self) -> list[str]:
        """Return what the table has in all, and which runs have no room."""
        hidden = [run.letter for run in self._runs if run.letter not in self._rows.shown]
        lost = [f"no room for {' '.join(hidden)}: ← →"] if hidden and self.table.rows else []
        return [*([self.table.note] if self.table.note else []), *lost]

    def lacking(self) -> str | None:
        """Return what is said instead of rows."""
        return None if self.table.rows else self.table.empty

    def written(self, style: str, store: Store) -> str:
        """Return the values of all rows and runs."""
        return of_table(style, self.table, self._runs, self.id or "key")

    def take_focus(self) -> None:
        """Give the focus to the rows."""
        self._rows.focus()

    def move(self, direction: int) -> None:
        """Let another run stay where there is no room for all."""
        self._first = (self._first + direction) % max(1, len(self._runs) - 1)
        self._again()

    def on_resize(self, event: Resize) -> None:
        self._again()

    def _again(self) -> None:
        if not self.size.width or not self._runs:
            return
        made_of = [*(run.experiment for run in self._runs), self.size.width, self._first, self._all]
        if made_of == self._made_of:
            return
        self._made_of = made_of
        self.table = self._make(self._runs, self.size.width - 3, self._first, self._all)
        self.set_class(not self.table.rows, "-nothing")
        self._nothing.update(self.table.empty)
        self._rows.show_columns(self.table.columns, self.table.rows)
        self._tell()
        self.post_message(Changed())

    @on(RowTable.Moved)
    def _moved(self) -> None:
        self._tell()

    def _tell(self) -> None:
        key = self._rows.selected
        lines = self.table.told(key) if key is not None and key in self.table.rows else ()
        self._told.update(wrapped(lines, max(8, self.size.width - 2)) if lines else Content())


class CompareSpecs(CompareTable):
    """A table that can show what is equal too."""

    def everything(self) -> None:
        """Show all keys, or only those that differ."""
        self._all = not self._all
        self._again()
