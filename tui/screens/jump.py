"""Jump mode: a letter over each pane of the screen below; the letter moves the focus there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click, Key, Resize
from textual.geometry import Offset, Size
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

_LETTERS = "asdfghjklqwertyuiopzxcvbnm"  # those under the fingers first
_LABEL_WIDTH = 3


class JumpScreen(ModalScreen[Widget | None]):
    """Dismissed with the pane whose letter was pressed, or null: by esc, by the mouse, when the terminal changes."""

    DEFAULT_CSS = """
    JumpScreen {
        background: $background 50%;
        Static { width: auto; height: 1; }
        .label {
            position: absolute;
            background: $accent;
            color: $background;
            text-style: bold;
            &:nocolor { text-style: bold reverse; }
        }
        #told { dock: bottom; width: 100%; padding: 0 1; background: $panel; color: $foreground; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+o", "dismiss(None)", "close")]

    def __init__(self, found: Mapping[Offset, Widget]) -> None:
        """found: where each pane begins."""
        super().__init__()
        self._found = dict(zip(_LETTERS, found.items(), strict=False))
        self._size_of_screen: Size | None = None

    def compose(self) -> ComposeResult:
        for letter, (offset, _) in self._found.items():
            label = Static(f"[{letter}]", classes="label", markup=False)
            label.styles.offset = (offset.x, offset.y)
            yield label
        yield Static("a letter moves to its pane   esc leaves", id="told", markup=False)

    def on_key(self, event: Key) -> None:
        if event.key in self._found:
            event.stop()
            self.dismiss(self._found[event.key][1])

    def on_click(self, event: Click) -> None:
        self.dismiss(None)

    def on_resize(self, event: Resize) -> None:
        if self._size_of_screen is not None and event.size != self._size_of_screen:
            self.dismiss(None)
        self._size_of_screen = event.size


def targets(screen: Screen[Any]) -> dict[Offset, Widget]:
    """Return the widgets of a screen that can have the focus, by where their labels stand; no two labels overlap."""
    found: dict[Offset, Widget] = {}
    for widget in screen.focus_chain:
        region = screen.find_widget(widget).visible_region
        if region.area == 0:
            continue
        offset = region.offset
        while any(other.y == offset.y and abs(other.x - offset.x) < _LABEL_WIDTH for other in found):
            offset += Offset(_LABEL_WIDTH + 1, 0)
        found[offset] = widget
    return found
