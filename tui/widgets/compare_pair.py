"""Two answers to one prompt beside each other, or below each other where it is narrow, and the list of all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from tui.comparison.side_text import SideText, prompt_text
from tui.widgets.compare_rows import CompareRows
from tui.widgets.row_table import Column, Row

_BESIDE = 80  # cells from which the answers stand beside each other
_LISTED = 24  # lines from which there is room for the list


class _Answer(VerticalScroll):
    """One answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+d", "page_down", "page down", show=False),
        Binding("ctrl+u", "page_up", "page up", show=False),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._text = Static(markup=False)
        self._shown = Content()

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, side: SideText) -> None:
        """Show a side of the pair."""
        self.border_title, self.border_subtitle = Content(side.title), Content(side.told)
        if side.text != self._shown:
            self._shown = side.text
            self._text.update(side.text)
            self.scroll_home(animate=False)


class ComparePair(Vertical, can_focus=True):
    """Prompt, two answers, the list where there is room for it, and what is said where there is no pair."""

    DEFAULT_CSS = """
    ComparePair {
        height: 1fr;
        #prompt, _Answer {
            border: round $border-blurred;
            border-title-color: $foreground 75%;
            border-title-style: bold;
            border-subtitle-color: $foreground 60%;
            padding: 0 1;
            scrollbar-size-vertical: 1;
        }
        &:focus #prompt, &:focus-within #prompt {
            border: round $border;
            border-title-color: $accent;
            border-title-style: $focused-title-style;
        }
        _Answer:focus { border: round $accent; }
        #prompt { height: auto; max-height: 40%; }
        #answers { height: 1fr; layout: vertical; }
        &.-beside #answers { layout: horizontal; }
        _Answer { width: 1fr; height: 1fr; }
        #pairs { display: none; }
        &.-listed #answers { height: auto; max-height: 45%; min-height: 5; }
        &.-listed _Answer { height: auto; min-height: 5; max-height: 100%; }
        &.-listed #pairs { display: block; height: 1fr; }
        #nothing { display: none; height: 1fr; width: 100%; content-align: center middle; color: $foreground 75%; }
        &.-nothing #nothing { display: block; }
        &.-nothing #prompt, &.-nothing #answers, &.-nothing #pairs { display: none; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Static(markup=False)
        self._prompt = VerticalScroll(self._text, id="prompt", can_focus=False)
        self._left, self._right = _Answer(id="left"), _Answer(id="right")
        self.pairs = CompareRows((), id="pairs")
        self._nothing = Static(id="nothing", markup=False)

    def compose(self) -> ComposeResult:
        yield self._prompt
        yield Container(self._left, self._right, id="answers")
        yield self.pairs
        yield self._nothing

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= _BESIDE, "-beside")
        self.set_class(event.size.height >= _LISTED, "-listed")
        self._keep_focus()

    def on_focus(self) -> None:
        if self._is_listed:
            self.pairs.focus()

    def take_focus(self) -> None:
        """Give the focus to the list, or, where there is no room for it, take it: the keys go from pair to pair."""
        (self.pairs if self._is_listed else self).focus()

    def _keep_focus(self) -> None:
        """Let the focus go where it belongs, now that the list is there, or is not."""
        if self.has_focus if self._is_listed else self.pairs.has_focus:
            self.take_focus()

    @property
    def _is_listed(self) -> bool:
        return self.has_class("-listed") and not self.has_class("-nothing")

    def show_pair(self, prompt: str, title: str, told: str, sides: tuple[SideText, SideText]) -> None:
        """Show a pair. title: where it stands among all. told: what it is known by, for the lower edge."""
        self.remove_class("-nothing")
        self._keep_focus()
        self._prompt.border_title = Content(title)
        self._prompt.border_subtitle = Content(told if cell_len(told) < self.size.width - 6 else "")
        self._text.update(prompt_text(prompt))
        self._left.show(sides[0])
        self._right.show(sides[1])

    def list_pairs(self, columns: Sequence[Column], rows: Mapping[str, Row], index: int) -> None:
        """Show all pairs, with the cursor on one of them."""
        self.pairs.show_columns(columns, rows)
        self.pairs.select(str(index))

    def say(self, sentence: str) -> None:
        """Say why there is no pair."""
        self.add_class("-nothing")
        self._keep_focus()
        self._nothing.update(sentence)
