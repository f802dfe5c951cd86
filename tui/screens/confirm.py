"""A question before something happens in the world: what, to what, at which cost. The default is No."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static


class ConfirmScreen(ModalScreen[bool]):
    """Dismissed with true only by the verb's button or `y`."""

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; background: $background 60%; }
    ConfirmScreen > Vertical {
        width: 68;
        max-width: 94%;
        height: auto;
        max-height: 90%;
        padding: 1 2;
        background: $surface;
        border: round $warning 70%;
        border-title-color: $warning;
        border-title-style: bold;
    }
    ConfirmScreen Static { height: auto; width: 100%; }
    ConfirmScreen #cost { margin-top: 1; color: $foreground 80%; }
    ConfirmScreen #command { margin-top: 1; color: $foreground 55%; }
    ConfirmScreen Horizontal { height: 1; margin-top: 1; align-horizontal: right; }
    ConfirmScreen Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
        Binding("left,right,h,l", "other", "other button", show=False),
    ]

    def __init__(self, question: str, *, verb: str, cost: str = "", command: str | None = None) -> None:
        """question: verb and name of the object. cost: one sentence. command: the `engine` twin."""
        super().__init__()
        self._question, self._verb, self._cost, self._command = question, verb, cost, command

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._verb
            yield Static(self._question, markup=False, id="question")
            if self._cost:
                yield Static(self._cost, markup=False, id="cost")
            if self._command:
                yield Static(f"$ {self._command}", markup=False, id="command")
            with Horizontal():
                yield Button("No (n)", id="no", compact=True, variant="default")
                yield Button(f"{self._verb} (y)", id="yes", compact=True, variant="warning")

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """Give the answer."""
        self.dismiss(answer)

    def action_other(self) -> None:
        """Go to the other button."""
        self.focus_next()
