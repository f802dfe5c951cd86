"""Going through pairs of answers: which runs and steps stand beside each other, which pairs are shown, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.report.comparing.saying import Pair, Said, Script, pairs, sides

Place = tuple[int, int]  # run by its place, step


@dataclass(frozen=True, slots=True)
class Browser:
    """One state of it; what changes makes a new one. Runs are known by their places, letters A, B, … in order."""

    scripts: Sequence[Script] = ()
    left: Place | None = None
    right: Place | None = None
    index: int = 0
    regressions: bool = False  # only pairs whose right answer is the worse one
    blind: bool = False  # who wrote what is hidden, and the sides are in an order drawn for each pair
    words: bool = True  # what differs is marked
    seed: str = ""  # of the order of blind pairs
    _all: Sequence[Pair] = field(default=(), repr=False)

    @property
    def shown(self) -> list[Pair]:
        """The pairs that one goes through."""
        return [pair for pair in self._all if pair.is_regression] if self.regressions else list(self._all)

    @property
    def pair(self) -> Pair | None:
        """The pair that is shown."""
        shown = self.shown
        return shown[min(self.index, len(shown) - 1)] if shown else None

    @property
    def total(self) -> int:
        """How many pairs there are."""
        return len(self._all)

    @property
    def swapped(self) -> bool:
        """Whether the right answer stands at the left: only where nobody knows."""
        pair = self.pair
        if not self.blind or pair is None:
            return False
        text = f"{self.seed}\0{self.left}\0{self.right}\0{pair.left.prompt}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 1

    @property
    def seen(self) -> tuple[tuple[Place, Said], tuple[Place, Said]] | None:
        """What stands at the left and at the right, as it is seen."""
        pair = self.pair
        if pair is None or self.left is None or self.right is None:
            return None
        both = (self.left, pair.left), (self.right, pair.right)
        return (both[1], both[0]) if self.swapped else both

    def of(self, scripts: Sequence[Script], other: int) -> Browser:
        """Return it over these runs. other: place of the run that stands at the right; what was chosen stays."""
        fresh = replace(self, scripts=scripts)
        kept = self.left is not None and self.right is not None and self.right[0] == other
        # a run that goes on has new steps; what one looks at stays in view
        if kept and all(place is not None and _is_there(scripts, place) for place in (self.left, self.right)):
            return fresh._paired(self.index)
        chosen = sides(scripts, other)
        left, right = chosen if chosen is not None else (None, None)
        return replace(fresh, left=left, right=right)._paired(0)

    def stepped(self, direction: int, *, at_left: bool = False) -> Browser | None:
        """Return it with the next or previous checkpoint of a side; null where there is none."""
        place = self.left if at_left else self.right
        if place is None:
            return None
        steps = list(self.scripts[place[0]])
        at = steps.index(place[1]) + direction
        if not 0 <= at < len(steps):
            return None
        moved = place[0], steps[at]
        if moved == (self.right if at_left else self.left):
            at += direction
            if not 0 <= at < len(steps):
                return None
            moved = place[0], steps[at]
        fresh = replace(self, left=moved) if at_left else replace(self, right=moved)
        return fresh._paired(self.index)

    def moved(self, by: int) -> Browser:
        """Return it at another pair."""
        last = max(0, len(self.shown) - 1)
        return replace(self, index=min(max(min(self.index, last) + by, 0), last))

    def only_regressions(self) -> Browser:
        """Return it with only the pairs that became worse, or all again; the pair that is shown stays if it can."""
        pair, fresh = self.pair, replace(self, regressions=not self.regressions)
        return fresh._at(pair)

    def _at(self, pair: Pair | None) -> Browser:
        shown = self.shown
        return replace(self, index=shown.index(pair) if pair in shown else 0)

    def _paired(self, index: int) -> Browser:
        before = self.pair
        if self.left is None or self.right is None:
            return replace(self, _all=(), index=0)
        both = [self.scripts[place][step] for place, step in (self.left, self.right)]
        fresh = replace(self, _all=pairs(*both))
        shown = fresh.shown
        # the same question again, where it is there
        same = next(
            (place for place, one in enumerate(shown) if before is not None and one.left.prompt == before.left.prompt),
            min(index, max(0, len(shown) - 1)),
        )
        return replace(fresh, index=same)


def _is_there(scripts: Sequence[Mapping[int, Sequence[Said]]], place: Place) -> bool:
    return place[0] < len(scripts) and place[1] in scripts[place[0]]
