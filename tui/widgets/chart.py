"""The widget over the canvas: it repaints only the cells that changed."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.events import Click, MouseDown, MouseMove, MouseScrollDown, MouseScrollUp, MouseUp
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from tui.canvas.charset import current
from tui.canvas.frame import Frame, changed_spans, runs
from tui.canvas.plot import Ground, Plot
from tui.widgets.chart_inks import ink_style
from tui.widgets.kept_style import KeptStyle


class Chart(KeptStyle, can_focus=True):
    """One chart of a `Plot`."""

    DEFAULT_CSS = """
    Chart {
        width: 1fr;
        height: 1fr;
    }
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
        self._ground: Ground | None = None
        self._strips: list[Strip | None] = []  # null: to be made again
        self._ink_styles: dict[int, Style] = {}

    def show(self, plot: Plot) -> None:
        """Draw a plot; only the spans of cells that differ from those on the screen are repainted."""
        self._plot = plot
        if self.size.width and self.size.height:
            self._draw()

    def on_focus(self) -> None:
        self._forget_styles()
        self.refresh()

    def on_blur(self) -> None:
        self._forget_styles()
        self.refresh()

    def on_resize(self) -> None:
        if self.frame.glyphs.shape != (self.size.height, self.size.width):  # else it comes back as it was
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
        self._forget_styles()  # they are worked out again after this call

    def _forget_styles(self) -> None:
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
        plot, charset = self._plot, current()
        if self._ground is None or not self._ground.serves(plot, width, height, charset):
            self._ground = Ground(plot, width, height, charset)
        return self._ground.finished(plot)

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
            style = self._ink_styles[ink] = ink_style(self, ink)
        return style
