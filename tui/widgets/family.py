"""The relatives of a run as a tree in which one walks: enter opens the one under the cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.telemetry.states import State
from tui.canvas.charset import ASCII, current
from tui.text.cells import align
from tui.text.safe import visible
from tui.theme import STATE_COLORS, glyph

if TYPE_CHECKING:
    from engine.store.experiment import Experiment
    from engine.store.pedigree import Pedigree, Relative

_QUIET, _HEAD = "$foreground 60%", "bold $foreground 75%"
_LONGEST_NAME = 28  # cells
Entry = tuple[str | None, Content]  # id of a run, null for a heading; its line


class Family(OptionList):
    """What a run was made from, itself, and what was made from it."""

    DEFAULT_CSS = """
    Family {
        height: 1fr;
        padding: 0;
        border: none;
        background: $background;
        scrollbar-size-vertical: 1;
        &>.option-list--option-highlighted {
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }
        &>.option-list--option-disabled { color: $foreground; }
        &:focus { border: none; background-tint: $foreground 0%; }
        &:focus>.option-list--option-highlighted {
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "line down", show=False),
        Binding("k", "cursor_up", "line up", show=False),
        Binding("g", "first", "first", show=False),
        Binding("G", "last", "last", show=False),
    ]

    class Opened(Message):
        """A run was chosen."""

        def __init__(self, identity: str) -> None:
            super().__init__()
            self.identity = identity

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, markup=False)
        self._entries: list[Entry] = []

    def show(self, entries: Sequence[Entry]) -> None:
        """Show a tree; the cursor stays where it is."""
        if list(entries) == self._entries:
            return
        at = self.highlighted
        self._entries = list(entries)
        self.clear_options()
        self.add_options([Option(line, disabled=identity is None) for identity, line in self._entries])
        ids = [place for place, (identity, _) in enumerate(self._entries) if identity is not None]
        self.highlighted = at if at in ids else (ids[0] if ids else None)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        identity = self._entries[event.option_index][0]
        if identity is not None:
            self.post_message(self.Opened(identity))


def family_entries(experiment: Experiment, family: Pedigree) -> list[Entry]:
    """Return one entry a line: headings, relatives, and the run itself, which cannot be opened again."""
    name = "" if experiment.name == experiment.id else experiment.name
    here = _Line("", experiment.id, name, experiment.state, "this run", is_here=True)
    origins, outcomes = list(_tree(family.origins, "")), list(_tree(family.outcomes, ""))
    all_lines = [here, *origins, *outcomes]
    widths = (
        max(len(line.lead + line.id) for line in all_lines),
        min(_LONGEST_NAME, max(cell_len(visible(line.name)) for line in all_lines)),
    )
    entries: list[Entry] = []
    if origins:
        entries += [_heading("made from"), *((line.id, line.content(*widths)) for line in origins)]
    entries.append((None, here.content(*widths)))
    if outcomes:
        entries += [_heading("made from it"), *((line.id, line.content(*widths)) for line in outcomes)]
    if not (origins or outcomes):
        text = " It was made from no other run, and none was made from it."
        entries.append((None, Content.assemble((text, _QUIET))))
    return entries


@dataclass(frozen=True, slots=True)
class _Line:
    lead: str  # the branches of the tree
    id: str
    name: str
    state: State
    how: str
    is_here: bool = False

    def content(self, id_width: int, name_width: int) -> Content:
        """Return the line; ids and names in columns of so many cells."""
        return Content.assemble(
            " ",
            (self.lead, _QUIET),
            (align(self.id, max(1, id_width - len(self.lead))), "bold $accent" if self.is_here else ""),
            "  ",
            align(visible(self.name), name_width),
            "  ",
            (align(f"{glyph(self.state)} {self.state.value}", 11), STATE_COLORS[self.state]),
            "  ",
            (visible(self.how), _QUIET),
        )


def _tree(relatives: Sequence[Relative], before: str) -> Iterator[_Line]:
    last_sign, sign, trunk = ("`- ", "+- ", "|  ") if current() is ASCII else ("└─ ", "├─ ", "│  ")
    for place, one in enumerate(relatives):
        is_last = place == len(relatives) - 1
        name = "" if one.name == one.id else one.name
        how = f"{one.how}, as above" if one.repeated else one.how
        yield _Line(before + (last_sign if is_last else sign), one.id, name, one.state, how)
        yield from _tree(one.further, before + ("   " if is_last else trunk))


def _heading(text: str) -> Entry:
    return None, Content.assemble((f" {text}", _HEAD))
