"""Textual's driver of Unix terminals, which writes only the cells that changed."""

from __future__ import annotations

import time
from typing import Any

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import AppFocus, InputEvent
from textual.message import Message

from tui.changed_cells import ChangedCells


class ThriftyDriver(LinuxDriver):
    """See `ChangedCells`. written: bytes that went to the terminal so far; touched_at: when a key or the mouse came."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.written = 0
        self.touched_at = time.monotonic()  # by its clock
        self._cells = ChangedCells()
        self._drawn_for = self._app.size
        self._doubtful = False  # something else may have written to the terminal

    def write(self, data: str) -> None:
        """Write what `data` changes on the screen."""
        size = self._app.size
        if size != self._drawn_for or self._doubtful:
            self._drawn_for, self._doubtful = size, False
            self._cells.forget()
        needed = self._cells.reduce(data)
        if needed:
            self.written += len(needed.encode())
            super().write(needed)

    def process_message(self, message: Message) -> None:
        """Hand a message on; whoever comes back to the terminal may have had something else write to it."""
        if isinstance(message, AppFocus):
            self._doubtful = True
        elif isinstance(message, InputEvent):
            self.touched_at = time.monotonic()
        super().process_message(message)


def thrifty(chosen: type[Driver]) -> type[Driver]:
    """Return the driver that writes less in the place of Textual's for Unix; any other stays."""
    return ThriftyDriver if chosen is LinuxDriver else chosen
