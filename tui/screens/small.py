"""What stands there when the terminal is too small for anything else."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.actions import table

SMALLEST = (60, 15)  # columns, lines


class TooSmallScreen(ModalScreen[None]):
    """One sentence, until the terminal grows."""

    DEFAULT_CSS = """
    TooSmallScreen { align: center middle; background: $background; }
    TooSmallScreen > Static { width: auto; max-width: 100%; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        binding for binding in table.bindings("everywhere") if binding.id == "quit"
    ]

    def compose(self) -> ComposeResult:
        columns, lines = SMALLEST
        yield Static(
            f"plumbline needs {columns} columns and {lines} lines: enlarge the terminal, or q quits.", markup=False
        )
