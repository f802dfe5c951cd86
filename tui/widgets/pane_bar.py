"""A rule with tabs: which texts of a run there are, and at the right end what is to know of the one that is shown."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.events import Click
from textual.message import Message
from textual.strip import Strip

from tui.actions import table
from tui.canvas.charset import current
from tui.text.safe import visible
from tui.widgets.kept_style import KeptStyle


class PaneBar(KeptStyle):
    """The tabs' names, after a prefix, are the ids of actions, which also give the key of each."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"pane-bar--{part}" for part in ("rule", "key", "tab", "chosen", "note")}
    DEFAULT_CSS = """
    PaneBar {
        height: 1;
        .pane-bar--rule { color: $foreground 25%; }
        .pane-bar--key { color: $footer-key-foreground; }
        .pane-bar--tab { color: $foreground 60%; }
        .pane-bar--chosen { color: $foreground; text-style: $focused-title-style; }
        .pane-bar--note { color: $foreground 60%; }
        &.-focused .pane-bar--rule { color: $accent 60%; }
        &.-focused .pane-bar--chosen { color: $accent; }
    }
    """

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, names: tuple[str, ...], *, prefix: str = "") -> None:
        super().__init__()
        self._names, self._prefix = names, prefix
        self._shown: tuple[str, tuple[str, ...]] = (names[0], ())
        self._spans: list[tuple[int, int, str]] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands at the right end."""
        return self._shown[1]

    def show(self, chosen: str, notes: tuple[str, ...]) -> None:
        """Mark a tab, and show notes at the right end; where room is short the first ones give way."""
        if (chosen, notes) != self._shown:
            self._shown = chosen, notes
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return the rule."""
        charset = current()
        rule = self.get_component_rich_style("pane-bar--rule")
        segments = [Segment(charset.rule + " ", rule)]
        self._spans = []
        x = 2
        keys = {name: self._key(name) for name in self._names}
        short = 2 + sum(cell_len(key) + len(name) + 3 for name, key in keys.items()) > self.size.width
        for name, key in keys.items():
            style = "chosen" if name == self._shown[0] else "tab"
            word = "" if short and style == "tab" else f" {name}"  # the chosen one keeps its word
            self._spans.append((x, x + cell_len(key + word), name))
            segments += [
                Segment(key, self.get_component_rich_style("pane-bar--key")),
                Segment(word, self.get_component_rich_style(f"pane-bar--{style}")),
                Segment("  ", rule),
            ]
            x = self._spans[-1][1] + 2
        notes = [visible(note) for note in self._shown[1]]
        separator = f" {charset.separator} "
        while notes and x + cell_len(separator.join(notes)) + 6 > self.size.width:
            notes.pop(0)
        text = separator.join(notes)
        rest = self.size.width - x - (cell_len(text) + 4 if text else 0)
        segments.append(Segment(charset.rule * max(0, rest), rule))
        if text:
            segments += [
                Segment(f" {text} ", self.get_component_rich_style("pane-bar--note")),
                Segment(charset.rule * 2, rule),
            ]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _key(self, name: str) -> str:
        entry = table.find(self._prefix + name)
        return entry.key_display if entry is not None else ""

    def on_click(self, event: Click) -> None:
        for start, stop, name in self._spans:
            if start <= event.x < stop:
                self.post_message(self.Chosen(name))
