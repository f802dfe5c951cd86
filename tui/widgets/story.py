"""A long text that one scrolls through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.text.wrapping import Line, wrapped

_QUIET = "$foreground 60%"


class Story(VerticalScroll):
    """Text that is replaced only when it changed; what one reads stays in view when newer text comes above it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "line down", show=False),
        Binding("k", "scroll_up", "line up", show=False),
        Binding("g", "scroll_home", "newest", show=False),
        Binding("G", "scroll_end", "oldest", show=False),
    ]
    DEFAULT_CSS = """
    Story { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Story > Static { width: 100%; }
    """

    def __init__(self, *, empty: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._empty: Line = (0, Content.assemble((empty, _QUIET)))
        self._lines: Sequence[Line] = ()
        self._content = Content()
        self._body = Static(markup=False)

    def compose(self) -> ComposeResult:
        yield self._body

    def show(self, lines: Sequence[Line]) -> None:
        """Show a text; for no lines, the sentence that says so."""
        self._lines = lines
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        content = wrapped(self._lines or (self._empty,), width)
        if content == self._content:
            return
        more = content.plain.count("\n") - self._content.plain.count("\n")
        self._content = content
        self._body.update(content)
        if self.scroll_offset.y > 0 and more > 0:
            self.call_after_refresh(self.scroll_relative, y=more, animate=False)
