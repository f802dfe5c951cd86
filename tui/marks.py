"""The experiments that a person has marked, in the order of marking, and the one that others are measured against."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 8  # as many as there are letters and colours to tell them apart
LETTERS = "ABCDEFGH"


class Marks:
    """Ids of experiments. The baseline is always the first of those that are compared, and has the letter A."""

    def __init__(self) -> None:
        self._marked: list[str] = []
        self.baseline: str | None = None

    @property
    def marked(self) -> tuple[str, ...]:
        """What is marked, in the order of marking; there can be more than can be compared."""
        return tuple(self._marked)

    def chosen(self) -> tuple[str, ...]:
        """Return what would be compared: the baseline, then what is marked; at most `MOST`."""
        first = (self.baseline,) if self.baseline else ()
        return (*first, *(one for one in self._marked if one != self.baseline))[:MOST]

    def letter(self, identity: str) -> str | None:
        """Return the letter that a chosen experiment has wherever it is shown."""
        chosen = self.chosen()
        return LETTERS[chosen.index(identity)] if identity in chosen else None

    def toggle(self, identity: str) -> bool:
        """Mark it, or take its mark away; returns whether it is marked now."""
        if identity in self._marked:
            self._marked.remove(identity)
            return False
        self._marked.append(identity)
        return True

    def mark(self, identities: Iterable[str]) -> None:
        """Mark these too."""
        self._marked += [one for one in dict.fromkeys(identities) if one not in self._marked]

    def clear(self) -> None:
        """Take all marks away; the baseline stays."""
        self._marked.clear()

    def set_baseline(self, identity: str) -> bool:
        """Make it the baseline, or, when it was, have none; returns whether it is now."""
        self.baseline = None if self.baseline == identity else identity
        return self.baseline is not None

    def keep(self, known: Iterable[str]) -> None:
        """Forget what is not there any more."""
        there = set(known)
        self._marked = [one for one in self._marked if one in there]
        if self.baseline not in there:
            self.baseline = None
