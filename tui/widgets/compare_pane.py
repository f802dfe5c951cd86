"""What the Compare screen asks of each of its tabs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tui.comparison.compared import Compared

if TYPE_CHECKING:
    from engine.store.database import Store


class ComparePane:
    """One tab. It does what it can; the screen says so where it cannot do what a key asks for."""

    wanted: frozenset[str] = frozenset()  # metrics whose points are needed
    values_of: str = ""  # what the values beside the runs are

    def show_compared(self, compared: Compared, other: int) -> None:
        """Show what was read. other: place of the run that is held against the baseline."""
        raise NotImplementedError

    def take_focus(self) -> None:
        """Give the focus to what the keys move."""
        raise NotImplementedError

    def values(self) -> Mapping[str, str]:
        """Return what stands beside each run, by letter."""
        return {}

    def facts(self) -> list[str]:
        """Return what stands in the status line."""
        return []

    def written(self, style: str, store: Store) -> str:
        """Return what is shown as the text of a file: csv, json, md or svg. For threads.

        store: where points are that are not shown.
        """
        raise NotImplementedError

    def lacking(self) -> str | None:
        """Return why there is nothing to write; null if there is something."""
        return None

    def hides(self) -> str | None:
        """Return why nothing of the comparison may be written now; null if it may be."""
        return None

    def restore(self) -> bool:
        """Undo the innermost thing; returns whether there was any."""
        return False
