"""The line in which a value is edited, at the place where it stands; paths and references complete themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input


class FormEditor(Input):
    """Enter and the arrows up and down keep what was typed."""

    DEFAULT_CSS = """
    FormEditor {
        position: absolute;
        layer: edit;
        display: none;
        height: 1;
        padding: 0;
        border: none;
        background: $block-cursor-background;
        &:focus { border: none; background: $block-cursor-background; }
        &.-shown { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "keep", tooltip="keep what was typed"),
        Binding("tab", "complete", "complete", tooltip="take what is suggested"),
        Binding("up", "leave(-1)", "keep, above", tooltip="keep, and go to the field above"),
        Binding("down", "leave(1)", "keep, below", tooltip="keep, and go to the field below"),
        Binding("escape", "screen.leave", "take back", tooltip="as it was before"),
    ]

    class Left(Message):
        """What was typed is kept. by: how many fields further to go."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def action_leave(self, by: int) -> None:
        """Keep what was typed."""
        self.post_message(self.Left(by))

    def action_complete(self) -> None:
        """Take what is suggested."""
        self.action_end()
        self.action_cursor_right()


class PathSuggester(Suggester):
    """Files below a folder, and `${NAME.OUTPUT}` of experiments."""

    def __init__(self, folder: Path, references: Sequence[str]) -> None:
        """folder: that relative paths are relative to."""
        super().__init__(use_cache=False, case_sensitive=True)
        self._folder, self._references = folder, references

    async def get_suggestion(self, value: str) -> str | None:
        """Return the first that goes on as what was typed."""
        if value.startswith("$"):
            return next((each for each in self._references if each.startswith(value) and each != value), None)
        return await asyncio.to_thread(_first_file, self._folder, value) if value else None


def _first_file(folder: Path, typed: str) -> str | None:
    head, slash, start = typed.rpartition("/")
    try:
        names = sorted(
            f"{each.name}/" if each.is_dir() else each.name
            for each in (folder / Path(f"{head}{slash}").expanduser()).iterdir()
            if each.name.startswith(start) and each.name != start and (start or not each.name.startswith("."))
        )
    except (OSError, RuntimeError, ValueError):
        return None
    return f"{head}{slash}{names[0]}" if names else None
