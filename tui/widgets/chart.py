"""The widget over the canvas: it repaints only the cells that changed."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.events import Click, MouseDown, MouseMove, MouseScrollDown, MouseScrollUp, MouseUp
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.canvas.frame import SERIES_INKS, Frame, Ink, changed_spans, line_ink, runs
from tui.canvas.plot import Plot, draw
from tui.theme import SERIES_COLORS

_PARTS = {
    Ink.AXIS: "chart--axis",
    Ink.LABEL: "chart--label",
    Ink.NAME: "chart--name",
    Ink.ASIDE: "chart--aside",
    Ink.NOTICE: "chart--notice",
    Ink.CROSSHAIR: "chart--crosshair",
    Ink.MARK: "chart--mark",
}
_SERIES_RULES = "\n".join(
    f"        .chart--line-{place} {{ color: {color}; }}\n"
    f"        .chart--band-{place} {{ color: {color.split()[0]} {25 if ' ' in color else 35}%; }}"
    for place, color in enumerate(SERIES_COLORS)
)


class Chart(Widget, can_focus=True):
    """One chart of a `Plot`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *_PARTS.values(),
        *(f"chart--line-{color}" for color in range(SERIES_INKS)),
        *(f"chart--band-{color}" for color in range(SERIES_INKS)),
    }

    DEFAULT_CSS = f"""
    Chart {{
        width: 1fr;
        height: 1fr;
        .chart--axis {{ color: $foreground 25%; }}
        .chart--label {{ color: $foreground 55%; }}
        .chart--name {{ color: $foreground; text-style: bold; }}
        .chart--aside {{ color: $foreground 55%; }}
        .chart--notice {{ color: $error; text-style: bold; }}
        .chart--crosshair {{ color: $foreground 45%; }}
        .chart--mark {{ color: $warning; }}
{_SERIES_RULES}
        &:focus .chart--axis {{ color: $accent 60%; }}
        &:focus .chart--name {{ color: $accent; text-style: $focused-title-style; }}
    }}
    """

    class Picked(Message):
        """A place was clicked. at: its x, null beside the plot; times: 2 for a double click."""

        def __init__(self, at: float | None, times: int) -> None:
            super().__init__()
            self.at, self.times = at, times

    class Turned(Message):
        """The wheel was turned over a place. at: its x, null beside the plot; direction: 1 is up."""

        def __init__(self, at: float | None, direction: int) -> None:
            super().__init__()
            self.at, self.direction = at, direction

    class Dragged(Message):
        """The mouse was moved with its button down. share: of the width of the plot, from where it was pressed."""

        def __init__(self, at: float | None, share: float, *, begins: bool) -> None:
            super().__init__()
            self.at, self.share, self.begins = at, share, begins

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pressed_at: int | None = None  # the column
        self._dragged = False
        self.frame = Frame.blank(1, 1)
        self._plot = Plot(())
        self._strips: list[Strip | None] = []  # null: to be made again
        self._ink_styles: dict[int, Style] = {}

    def show(self, plot: Plot) -> None:
        """Draw a plot; only the spans of cells that differ from those on the screen are repainted."""
        self._plot = plot
        if self.size.width and self.size.height:
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def on_click(self, event: Click) -> None:
        if not self._dragged:
            self.post_message(self.Picked(self._x_at(event.x), event.chain))

    def on_mouse_down(self, event: MouseDown) -> None:
        self._dragged = False
        if event.button == 1 and self.frame.columns:
            self._pressed_at = event.x
            self.capture_mouse()

    def on_mouse_move(self, event: MouseMove) -> None:
        if self._pressed_at is None or (event.x == self._pressed_at and not self._dragged):
            return
        share = (event.x - self._pressed_at) / max(1, self.frame.columns)
        self.post_message(self.Dragged(self._x_at(event.x), share, begins=not self._dragged))
        self._dragged = True

    def on_mouse_up(self, event: MouseUp) -> None:
        self._pressed_at = None
        self.release_mouse()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Turned(self._x_at(event.x), 1))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Turned(self._x_at(event.x), -1))

    def notify_style_update(self) -> None:
        super().notify_style_update()
        # the styles of the parts are worked out after this call
        self._ink_styles.clear()
        self._strips = [None] * len(self._strips)

    def render_line(self, y: int) -> Strip:
        """Return a row of the frame; the same object as long as the row stays the same."""
        if y >= len(self._strips):
            return Strip.blank(self.size.width, self.rich_style)
        strip = self._strips[y]
        if strip is None:
            strip = self._strips[y] = self._strip(y)
        return strip

    def _x_at(self, column: int) -> float | None:
        frame = self.frame
        if frame.x is None or not frame.left <= column < frame.left + frame.columns:
            return None
        return frame.x.low + (frame.x.high - frame.x.low) * (column - frame.left + 0.5) / frame.columns

    def drawn(self, width: int, height: int) -> Frame:
        """Return what it shows in so many cells."""
        return draw(self._plot, width, height)

    def _draw(self) -> None:
        frame = self.drawn(self.size.width, self.size.height)
        spans = changed_spans(self.frame if self._strips else None, frame)
        self.frame = frame
        height = frame.glyphs.shape[0]
        self._strips = [*self._strips, *[None] * height][:height]
        for row, _, _ in spans:
            self._strips[row] = None
        if spans:
            self.refresh(*(Region(start, row, stop - start, 1) for row, start, stop in spans))

    def _strip(self, row: int) -> Strip:
        glyphs, inks = self.frame.glyphs[row], self.frame.inks[row]
        segments = [Segment("".join(glyphs[start:stop]), self._style(ink)) for start, stop, ink in runs(inks)]
        return Strip(segments, len(glyphs))

    def _style(self, ink: int) -> Style:
        style = self._ink_styles.get(ink)
        if style is None:
            style = self._ink_styles[ink] = self._component_style(ink)
        return style

    def _component_style(self, ink: int) -> Style:
        if ink == Ink.BLANK:
            return self.rich_style
        if ink in _PARTS:
            return self.get_component_rich_style(_PARTS[Ink(ink)])
        family = "band" if ink >= Ink.BAND else "line"
        return self.get_component_rich_style(f"chart--{family}-{(ink - line_ink(0)) % SERIES_INKS}")
