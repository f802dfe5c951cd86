"""A list to tick several choices in, and to put them in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.actions.action import key_name
from tui.screens.menu import Choice, menu_lines
from tui.text.safe import visible


class ChecklistScreen(ModalScreen[tuple[str, ...] | None]):
    """Dismissed with the ids that are ticked, in their order; null when it was given up. `current` means ticked."""

    DEFAULT_CSS = """
    ChecklistScreen { align: center middle; background: $background 60%; }
    ChecklistScreen > Vertical {
        width: 64;
        max-width: 94%;
        height: 86%;
        padding: 0 1;
        background: $surface;
        border: round $border;
        border-title-color: $accent;
        border-title-style: bold;
        border-subtitle-color: $foreground 55%;
    }
    ChecklistScreen Input { height: 1; margin-bottom: 1; border: none; padding: 0; background: $surface; }
    ChecklistScreen OptionList {
        height: 1fr;
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
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "down", show=False, priority=True),
        Binding("up", "move(-1)", "up", show=False, priority=True),
        Binding("space", "tick", "tick", priority=True),
        Binding("shift+up,ctrl+up", "carry(-1)", "move up", priority=True),
        Binding("shift+down,ctrl+down", "carry(1)", "move down", priority=True),
        Binding("ctrl+r", "usual", "the usual ones", priority=True),
        Binding("enter", "done", "ok", priority=True),
        Binding("escape", "dismiss(None)", "give up"),
    ]

    def __init__(self, title: str, choices: Sequence[Choice], *, usual: Sequence[str] = ()) -> None:
        """usual: the ids that ctrl+r ticks, and no others."""
        super().__init__()
        self._title, self._usual = title, tuple(usual)
        self._choices = [*choices]
        self._shown: list[int] = []  # places of the choices that the search leaves
        self._search = _Search(placeholder="search", compact=True, id="search")
        self._list = OptionList(compact=True, markup=False)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = visible(self._title)
            box.border_subtitle = f"space tick   ⇧↑ ⇧↓ move   ^r usual   {key_name('enter')} ok   esc give up"
            yield self._search
            yield self._list

    def on_mount(self) -> None:
        self._search.focus()
        self._tell(0)

    @on(Input.Changed)
    def _searched(self) -> None:
        self._tell(0)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._list.highlighted = event.option_index
        self.action_tick()

    def _tell(self, highlighted: int) -> None:
        word = self._search.value.lower()
        self._shown = [
            place for place, choice in enumerate(self._choices) if word in f"{choice.text} {choice.note}".lower()
        ]
        marked = [replace(choice, key="") for choice in self._choices]
        lines = menu_lines(marked)
        self._list.clear_options()
        self._list.add_options([Option(lines[place]) for place in self._shown])
        self._list.highlighted = min(highlighted, len(self._shown) - 1) if self._shown else None

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        if self._shown:
            self._list.highlighted = ((self._list.highlighted or 0) + by) % len(self._shown)

    def action_tick(self) -> None:
        """Tick what is under the cursor, or take its tick away."""
        if self._list.highlighted is not None:
            place = self._shown[self._list.highlighted]
            self._choices[place] = replace(self._choices[place], current=not self._choices[place].current)
            self._tell(self._list.highlighted)

    def action_carry(self, by: int) -> None:
        """Move the choice under the cursor up or down."""
        here = self._list.highlighted
        if here is None or not 0 <= here + by < len(self._shown):
            return
        first, second = self._shown[here], self._shown[here + by]
        self._choices[first], self._choices[second] = self._choices[second], self._choices[first]
        self._tell(here + by)

    def action_usual(self) -> None:
        """Tick the usual ones, in their order, and no others."""
        known = {choice.id: choice for choice in self._choices}
        first = [replace(known[identity], current=True) for identity in self._usual if identity in known]
        self._choices = [
            *first,
            *(replace(choice, current=False) for choice in self._choices if choice.id not in self._usual),
        ]
        self._tell(0)

    def action_done(self) -> None:
        """Take what is ticked."""
        self.dismiss(tuple(choice.id for choice in self._choices if choice.current))


class _Search(Input):
    """Leaves the space to the screen, which ticks with it."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether a key is typed here."""
        return key != "space" and super().check_consume_key(key, character)
