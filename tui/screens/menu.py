"""A small menu over the screen: one of several choices, by cursor, by its own key, or by the mouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.actions.action import key_name
from tui.text.cells import align
from tui.text.safe import visible

_GAP = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a menu. Its texts may come from outside: they are shown, never obeyed."""

    id: str
    text: str
    key: str = ""  # a key that chooses it at once, as Textual names keys
    note: str = ""  # quiet, at the right end
    current: bool = False  # what holds now: has a mark, and the cursor stands on it at first
    refused: str | None = None  # why it cannot be chosen now: one sentence, shown when the cursor stands on it


class MenuScreen(ModalScreen[str | None]):
    """Dismissed with the id of a choice, or null.

    A further key in `others` dismisses with "key:id" of the choice under the cursor; its meaning stands in the hint.
    """

    DEFAULT_CSS = """
    MenuScreen { align: center middle; background: $background 60%; }
    MenuScreen > Vertical {
        width: auto;
        min-width: 34;
        max-width: 94%;
        height: auto;
        max-height: 80%;
        padding: 0 1;
        background: $surface;
        border: round $border;
        border-title-color: $accent;
        border-title-style: bold;
        border-subtitle-color: $foreground 55%;
    }
    MenuScreen OptionList {
        width: auto;
        height: auto;
        max-height: 60vh;
        padding: 0;
        border: none;
        background: $surface;
        scrollbar-size-vertical: 1;
        &>.option-list--option-highlighted {
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
        &:focus { border: none; background-tint: $foreground 0%; }
    }
    MenuScreen #told { width: 100%; height: auto; color: $foreground 65%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "down", show=False),
        Binding("k", "move(-1)", "up", show=False),
        Binding("space", "take", "choose", show=False),
        Binding("escape,q", "dismiss(None)", "close"),
    ]

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice],
        *,
        hint: str | None = None,
        told: str = "",
        others: Sequence[str] = (),
    ) -> None:
        """hint: on the lower edge, if not the usual one. told: a sentence above. others: keys beside the choices'."""
        super().__init__()
        self._title, self._told, self._others = title, told, tuple(others)
        self._hint = f"{key_name('enter')} choose   esc close" if hint is None else hint
        self._choices = tuple(choices)
        self._list = OptionList(*(Option(text) for text in menu_lines(self._choices)), compact=True, markup=False)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = visible(self._title), self._hint
            if self._told:
                yield Static(visible(self._told), id="told", markup=False)
            yield self._list

    def on_mount(self) -> None:
        current = (place for place, choice in enumerate(self._choices) if choice.current)
        if self._choices:
            self._list.highlighted = next(current, 0)
        self._list.focus()

    def on_key(self, event: Key) -> None:
        for choice in self._choices:
            if choice.key and choice.key in (event.key, event.character):
                event.stop()
                self._choose(choice)
                return
        if event.key in self._others and self._list.highlighted is not None:
            event.stop()
            self.dismiss(f"{event.key}:{self._choices[self._list.highlighted].id}")

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(self._choices[event.option_index])

    def _choose(self, choice: Choice) -> None:
        if choice.refused is None:
            self.dismiss(choice.id)
        else:
            box = self._list.parent
            if isinstance(box, Vertical):
                box.border_subtitle = visible(choice.refused)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        if by > 0:
            self._list.action_cursor_down()
        else:
            self._list.action_cursor_up()

    def action_take(self) -> None:
        """Choose what is under the cursor."""
        self._list.action_select()


def menu_lines(choices: Sequence[Choice]) -> list[Content]:
    """Return one line a choice: mark, key, text and note, in columns."""
    texts = [visible(choice.text) for choice in choices]
    notes = [visible(choice.note) for choice in choices]
    keys = [key_name(choice.key) for choice in choices]
    key_width = max((cell_len(key) for key in keys), default=0)
    text_width = max((cell_len(text) for text in texts), default=0)
    note_width = max((cell_len(note) for note in notes), default=0)
    lines = []
    for choice, text, note, key in zip(choices, texts, notes, keys, strict=True):
        dim = choice.refused is not None
        lines.append(
            Content.assemble(
                ("• " if choice.current else "  ", "$accent"),
                (f"{align(key, key_width)}{' ' * _GAP}" if key_width else "", "$foreground 35%" if dim else "$accent"),
                (align(text, text_width), "$foreground 35%" if dim else ""),
                (f"{' ' * _GAP}{align(note, note_width)}" if note_width else "", "$foreground 55%"),
            )
        )
    return lines
