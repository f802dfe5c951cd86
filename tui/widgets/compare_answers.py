"""The tab of evaluations: figures, what changed, examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from tui.comparison.answer_text import answer_lines
from tui.comparison.answers import Answers
from tui.comparison.compared import Compared
from tui.comparison.exporting import of_answers
from tui.text.wrapping import wrapped
from tui.widgets.compare_pane import ComparePane

if TYPE_CHECKING:
    from engine.store.database import Store

_NONE = "None of these runs is an evaluation: mark runs of kind eval on the Runs screen."


class CompareAnswers(VerticalScroll, ComparePane):
    """A page that one scrolls through."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "line down", show=False),
        Binding("k", "scroll_up", "line up", show=False),
        Binding("ctrl+d", "page_down", "page down", show=False),
        Binding("ctrl+u", "page_up", "page up", show=False),
        Binding("g", "scroll_home", "first line", show=False),
        Binding("G", "scroll_end", "last line", show=False),
    ]
    DEFAULT_CSS = """
    CompareAnswers { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    CompareAnswers > Static { width: 100%; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.known: Answers | None = None
        self._text = Static("reading…", markup=False)
        self._content = Content()

    def compose(self) -> ComposeResult:
        yield self._text

    def show_compared(self, compared: Compared, other: int) -> None:
        """Show the evaluations among the runs."""
        if compared.answers is not None:
            self.known = compared.answers
        self._lay_out()

    def lacking(self) -> str | None:
        """Return that there is no evaluation, where there is none."""
        return None if self.known is not None and self.known.headline is not None else _NONE

    def written(self, style: str, store: Store) -> str:
        """Return the tables."""
        return of_answers(style, self.known or Answers())

    def take_focus(self) -> None:
        """Take the focus: the keys scroll."""
        self.focus()

    def facts(self) -> list[str]:
        """Return what is held against what."""
        change = self.known.change if self.known else None
        return [f"from {change.before_label} to {change.after_label}", "J the next run"] if change else []

    def on_resize(self, event: Resize) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if self.known is None or not width:
            return
        lines = answer_lines(self.known, width)
        content = wrapped(lines, width) if lines else Content(_NONE)
        if content != self._content:
            self._content = content
            self._text.update(content)
