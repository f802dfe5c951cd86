"""The list of pairs: what was asked, what each answer is, and how it was voted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engine.report.comparing.saying import Said
from engine.telemetry.numbers import short
from tui.comparison.browsing import Browser
from tui.comparison.reading import ComparedRun
from tui.comparison.voting import Standing
from tui.text.safe import visible
from tui.widgets.row_table import Cell, Column, Row

if TYPE_CHECKING:
    from engine.store.votes import Side

_INKS = {"correct": "better", "hallucinated": "worse", "abstained": "warning"}
_TOLD = ("score", "reward", "exact")  # of a sample without an outcome
_LONGEST = 200  # characters of a question


def pair_columns(browser: Browser, runs: Sequence[ComparedRun]) -> list[Column]:
    """Return the columns; where names are hidden, what would tell them is left out."""
    columns = [Column("number", "", 3, right=True), Column("question", "prompt", 0, least=20)]
    if not browser.blind and browser.left is not None and browser.right is not None:
        one, other = (runs[place].letter for place, _ in (browser.left, browser.right))
        if one == other:
            one, other = f"step {browser.left[1]}", f"step {browser.right[1]}"
        columns += [Column("left", one, 1, needed=False), Column("right", other, 1, needed=False)]
    return [*columns, Column("vote", "vote", 2, needed=False)]


def pair_rows(browser: Browser, known: Standing | None, digests: Mapping[str, str]) -> dict[str, Row]:
    """Return a row a pair, by its place. digests: what each prompt is known by among the votes."""
    given = known.given if known is not None else {}
    rows: dict[str, Row] = {}
    for place, pair in enumerate(browser.shown):
        key = digests.get(pair.left.prompt, "")
        voted = _voted(given[key], known, browser) if known is not None and key in given else ""
        rows[str(place)] = {
            "number": Cell(str(place + 1), "quiet"),
            "question": Cell(visible(" ".join(pair.left.question[:_LONGEST].split())), "text"),
            "left": _result(pair.left),
            "right": _result(pair.right),
            "vote": Cell(voted, "mark"),
        }
    return rows


def _voted(winner: Side | None, known: Standing, browser: Browser) -> str:
    if browser.blind:
        return "voted"
    return "tie" if winner is None else "left" if winner == known.one else "right"


def _result(said: Said) -> Cell:
    if said.outcome is not None:
        return Cell(said.outcome, _INKS.get(said.outcome, "quiet"))
    name = next((name for name in _TOLD if name in said.scores), None)
    return Cell(short(said.scores[name]) if name is not None else "", "text")
