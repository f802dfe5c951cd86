"""A question with one line as its answer: a tag, a note, the name of a view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from tui.actions.action import key_name
from tui.text.safe import visible


class AskScreen(ModalScreen[str | None]):
    """Dismissed with the line, stripped; null when it was given up. An empty line is an answer unless refused."""

    DEFAULT_CSS = """
    AskScreen { align: center middle; background: $background 60%; }
    AskScreen > Vertical {
        width: 68;
        max-width: 94%;
        height: auto;
        padding: 1 2;
        background: $surface;
        border: round $border;
        border-title-color: $accent;
        border-title-style: bold;
        border-subtitle-color: $foreground 55%;
    }
    AskScreen Input { width: 100%; }
    AskScreen #told { width: 100%; height: auto; color: $foreground 65%; margin-bottom: 1; }
    AskScreen #refusal { display: none; width: 100%; height: auto; color: $error; margin-top: 1; }
    AskScreen.-refused #refusal { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "give up")]

    def __init__(
        self,
        title: str,
        *,
        value: str = "",
        told: str = "",
        placeholder: str = "",
        suggestions: Sequence[str] = (),
        refusal: Callable[[str], str | None] | None = None,
    ) -> None:
        """told: above the line. suggestions: for its last word (→). refusal: why a line is wrong, or null."""
        super().__init__()
        self._title, self._told, self._refusal_of = title, told, refusal
        suggester = _LastWord(suggestions) if suggestions else None
        complete = f"{key_name('right')} complete   " if suggestions else ""
        self._hint = f"{key_name('enter')} ok   {complete}esc give up"
        self._line = Input(value=value, placeholder=placeholder, suggester=suggester, compact=True, id="answer")
        self._refusal = Static(id="refusal", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = visible(self._title), self._hint
            if self._told:
                yield Static(visible(self._told), id="told", markup=False)
            yield self._line
            yield self._refusal

    def on_mount(self) -> None:
        self._line.focus()

    @on(Input.Changed)
    def _changed(self) -> None:
        self.remove_class("-refused")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        line = event.value.strip()
        refusal = self._refusal_of(line) if self._refusal_of else None
        if refusal is None:
            self.dismiss(line)
        else:
            self._refusal.update(visible(refusal))
            self.add_class("-refused")


class _LastWord(Suggester):
    """Completes the word that is being typed."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._words = words

    async def get_suggestion(self, value: str) -> str | None:
        """Return the line with its last word whole; null when no word begins so."""
        typed = value.rpartition(" ")[2]
        word = next((word for word in self._words if word.startswith(typed)), None) if typed else None
        return None if word is None else value + word[len(typed) :]
