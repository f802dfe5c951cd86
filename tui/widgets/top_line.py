"""The first line of a screen: the program, the screen's name, and at the right end how things stand."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

Part = tuple[str, str, str]  # ink, text, what of it stays where room is short


class TopLine(Widget):
    """Program and screen at the left, parts at the right; where room is short their words give way."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"top-line--{ink}" for ink in ("program", "screen", "subject", "text", "good", "warning", "error")
    }
    DEFAULT_CSS = """
    TopLine {
        height: 1;
        padding: 0 1;
        background: $panel;
        .top-line--program { color: $accent; text-style: bold; }
        .top-line--screen { color: $foreground; text-style: bold; }
        .top-line--subject { color: $foreground; }
        .top-line--text { color: $foreground 65%; }
        .top-line--good { color: $success; }
        .top-line--warning { color: $warning; }
        .top-line--error { color: $error; text-style: bold; }
    }
    """

    def __init__(self, screen_name: str) -> None:
        super().__init__()
        self._screen_name = screen_name
        self._subject = ""
        self._parts: list[Part] = []

    def show(self, parts: list[Part], subject: str = "") -> None:
        """Show these at the right end, and beside the screen's name what it is about."""
        if (parts, subject) != (self._parts, self._subject):
            self._parts, self._subject = parts, subject
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return the line."""
        width = self.content_region.width
        left = [
            Segment("plumbline", self._ink("program")),
            Segment("  ", self.rich_style),
            Segment(self._screen_name, self._ink("screen")),
            Segment(f"  {self._subject}" if self._subject else "", self._ink("subject")),
        ]
        room = width - sum(cell_len(segment.text) for segment in left)
        long = [(ink, text) for ink, text, _ in self._parts]
        short = [(ink, text) for ink, _, text in self._parts]
        right: list[Segment] = []
        for ink, text in long if sum(cell_len(text) + 3 for _, text in long) <= room else short:
            if cell_len(text) + 3 > room:
                break
            room -= cell_len(text) + 3
            right += [Segment("   ", self.rich_style), Segment(text, self._ink(ink))]
        return Strip([*left, Segment(" " * room, self.rich_style), *right]).adjust_cell_length(width, self.rich_style)

    def _ink(self, name: str) -> Style:
        return self.get_component_rich_style(f"top-line--{name}")
