"""The fields of a form as a table: name, value, and what is wrong with it, what it was, or what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.events import Resize

from tui.canvas.charset import ASCII, current
from tui.form.fields import MISSING, Field, Shape
from tui.form.values import cell, shown
from tui.text.safe import visible
from tui.widgets.row_table import Cell, Column, Row, RowTable

_COLUMNS = (
    Column("label", "field", 0),
    Column("value", "value", 1, least=14),
    Column("note", "", 2, least=8),
)
_GAP = 2  # cells between columns
_WIDEST_VALUE = 32  # cells, beyond which a value is cut while it is not edited
_NOTED = 24  # cells that are worth a description


class FormTable(RowTable):
    """Knows where the value of each field stands, so that it can be edited there."""

    DEFAULT_CSS: ClassVar[str] = "FormTable { padding: 0 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(_COLUMNS, id=id)

        self._shown: tuple[Sequence[Field], Mapping[str, str], Sequence[str]] = ((), {}, ())

    def show_fields(self, fields: Sequence[Field], faults: Mapping[str, str], folded: Sequence[str]) -> None:
        """Show these fields, in order; what they mean stands beside them where there is room for it."""
        self._shown = fields, faults, folded
        rows = {field.key: row(field, faults, folded=field.key in folded) for field in fields}
        widths = [max((each[key].needs for each in rows.values()), default=0) for key in ("label", "value")]
        if self.size.width - 3 - sum(widths) - 2 * _GAP < _NOTED:
            rows = {
                key: each if each["note"].ink != "quiet" else {**each, "note": Cell("")} for key, each in rows.items()
            }
        self.show(rows)

    def on_resize(self, event: Resize) -> None:
        self.show_fields(*self._shown)
        super().on_resize(event)

    def _scroll_to_cursor(self) -> None:
        """Scroll at once: what is edited next stands where the cursor is."""
        rows = max(1, self.scrollable_content_region.height - 1)
        top = min(self.scroll_offset.y, self._cursor)
        top = max(top, self._cursor - rows + 1)
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, immediate=True, force=True)

    def value_at(self) -> tuple[int, int, int] | None:
        """Return where the value under the cursor stands: column and line in the widget, and cells up to its edge."""
        sizes = {column.key: size for column, size in self._columns}
        y = 1 + self._cursor - self.scroll_offset.y
        if not self._keys or "value" not in sizes or not 0 < y < self.size.height:
            return None
        x = 1 + sizes["label"] + _GAP
        return x, y, max(8, 1 + self.scrollable_content_region.width - x)


def row(field: Field, faults: Mapping[str, str], *, folded: bool) -> Row:
    """Return the cells of a field."""
    fault = faults.get(field.key)
    value = "required" if field.is_missing else visible(cell(field))
    if cell_len(value) > _WIDEST_VALUE:
        value = value[: _WIDEST_VALUE - 1] + "…"
    ink = (
        "warning"
        if field.is_missing
        else "error"
        if fault
        else "mark"
        if field.changed
        else "quiet"
        if field.is_section or field.value is None
        else "strong"
    )
    note = _note(field, fault)
    if field.is_section and fault and not field.is_missing:  # it has no value of its own: there is more room
        return {
            "label": Cell(_label(field, folded=folded), "strong"),
            "value": Cell(note.text, note.ink, flows=True),
            "note": Cell(""),
        }
    return {
        "label": Cell(_label(field, folded=folded), "strong" if field.is_section else "text"),
        "value": Cell(value, ink),
        "note": note,
    }


def _label(field: Field, *, folded: bool) -> str:
    ascii_only = current() is ASCII
    sign = ""
    if field.is_section:
        sign = ("+ " if folded else "- ") if ascii_only else ("▸ " if folded else "▾ ")
    return "  " * field.depth + sign + visible(field.label) + (" *" if field.required and not field.is_section else "")


def _note(field: Field, fault: str | None) -> Cell:
    ascii_only = current() is ASCII
    if fault and not field.is_missing:
        return Cell(f"{'x' if ascii_only else '✖'} {visible(' '.join(fault.split()))}", "error")
    if field.changed:
        before = "not there" if field.base is MISSING else visible(shown(field.base)) or "empty"
        return Cell(f"{'<-' if ascii_only else '←'} {before}", "mark")
    if field.is_missing and field.shape is Shape.NAMES and field.example is not None:
        return Cell(f"e.g. {visible(shown(field.example))}", "quiet")
    return Cell("" if field.note == field.description else visible(field.description), "quiet")
