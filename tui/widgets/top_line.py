"""The first line of a screen: the places with their digits, and at the right end how things stand."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.strip import Strip

from tui.places import PLACES
from tui.widgets.kept_style import KeptStyle

_WIDE = 110  # columns that have room for the names of all places
_ROOMY = 70  # columns that have room for the name of the program
Part = tuple[str, str, str]  # ink, text, what of it stays where room is short


class TopLine(KeptStyle):
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
        .top-line--screen { color: $accent; background: $surface; text-style: $focused-title-style; }
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
        self._spans: list[tuple[int, int, str]] = []  # of places, for the mouse

    def show(self, parts: list[Part], subject: str = "") -> None:
        """Show these at the right end, and beside the screen's name what it is about."""
        if (parts, subject) != (self._parts, self._subject):
            self._parts, self._subject = parts, subject
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return the line."""
        width = self.content_region.width
        left = [*self._places(width), Segment(f" {self._subject}" if self._subject else "", self._ink("subject"))]
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

    def _places(self, width: int) -> list[Segment]:
        """Return the digits of all places, the one that is shown by its name; where there is room, all by name."""
        self._spans = []
        if all(place.title != self._screen_name for place in PLACES):
            program, screen = (
                Segment("plumbline", self._ink("program")),
                Segment(self._screen_name, self._ink("screen")),
            )
            return [program, Segment("  ", self.rich_style), screen]
        named = width >= _WIDE
        segments = [Segment("plumbline " if width >= _ROOMY else "", self._ink("program"))]
        x = cell_len(segments[0].text)
        for place in PLACES:
            here = place.title == self._screen_name
            text = f" {place.key} {place.title} " if here or named else f" {place.key} "
            segments.append(Segment(text, self._ink("screen" if here else "text")))
            self._spans.append((x, x + cell_len(text), place.id))
            x += cell_len(text)
        return segments

    async def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        for start, stop, place in self._spans:
            if offset is not None and start <= offset.x < stop:
                await self.app.run_action(f"app.act('go-{place}')")

    def _ink(self, name: str) -> Style:
        return self.get_component_rich_style(f"top-line--{name}")
