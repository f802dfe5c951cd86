"""What stands at the left edge of the list of runs: marks, the baseline, pins; and the headings of groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.store.filtering.keys import SPEC
from tui.canvas.charset import ASCII, current
from tui.marks import LETTERS, Marks
from tui.run_list import Heading, View
from tui.text.safe import visible
from tui.theme import glyph
from tui.widgets.run_columns import Cell

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

_GLYPHS = {"baseline": ("◉", "@"), "mark": ("◆", "*"), "pin": ("▲", "^"), "folded": ("▸", ">"), "open": ("▾", "v")}


def sign(name: str) -> str:
    """Return the one character that stands for a mark, the baseline, a pin, or a group that is folded or open."""
    return _GLYPHS[name][current() is ASCII]


def signs_of(experiments: Iterable[Experiment], marks: Marks) -> dict[str, Cell]:
    """Return the signs by id: the baseline and marks with their letters, as far as these reach, and pins."""
    marked, letters = set(marks.marked), dict(zip(marks.chosen(), LETTERS, strict=False))
    found: dict[str, Cell] = {}
    for one in experiments:
        letter = letters.get(one.id, "")
        if one.id == marks.baseline:
            found[one.id] = Cell(sign("baseline") + letter, "baseline")
        elif one.id in marked:
            found[one.id] = Cell(sign("mark") + letter, "mark")
        elif one.pinned_at is not None:
            found[one.id] = Cell(sign("pin"), "pin")
    return found


def levels_text(view: View) -> str:
    """Return by what a list is in groups: "kind", or "kind ▸ data"."""
    return f" {sign('folded')} ".join(level.removeprefix(SPEC) for level in view.levels)


def heading_cells(heading: Heading) -> list[Cell]:
    """Return the line above a group: its title, how many there are, and how many of each state; inner ones indented."""
    cells = [
        Cell(f"{'  ' * heading.level}{sign('folded' if heading.folded else 'open')} ", "quiet"),
        Cell(f" {visible(heading.title)}", "subheading" if heading.level else "heading"),
        Cell(f"  {heading.count} run{'s' if heading.count != 1 else ''}", "quiet"),
    ]
    for state, number in heading.states:
        cells.append(Cell(f"   {glyph(state)} {number}", f"state-{state.value}"))
    return cells
