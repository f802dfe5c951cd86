"""The tab of samples: going through pairs of answers, and voting on them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.message import Message

from engine.errors import PlumblineError
from tui.canvas.charset import current
from tui.comparison.browsing import Browser
from tui.comparison.compared import Compared
from tui.comparison.exporting import of_pairs
from tui.comparison.pair_rows import pair_columns, pair_rows
from tui.comparison.reading import ComparedRun
from tui.comparison.side_text import side_texts
from tui.comparison.voting import Standing, chosen_side, given_text, sides_of, standing, standing_text
from tui.text.safe import visible
from tui.widgets.compare_pair import ComparePair
from tui.widgets.compare_pane import ComparePane
from tui.widgets.row_table import RowTable
from tui.widgets.telling import Changed, Told

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.votes import Side
    from tui.app import PlumblineApp

_NOTHING_IN_COMMON = """\
These two were asked no prompt in common.

← →  another checkpoint
J    another run, or the checkpoints of the first one"""


class CompareSamples(ComparePair, ComparePane):
    """What one goes through are the answers of the baseline and of another run, or of two of its checkpoints."""

    class VotesLoaded(Message):
        """The votes on the two sides were read. cast: whom a vote was just cast for; null: none was."""

        def __init__(self, known: Standing, cast: str | None) -> None:
            super().__init__()
            self.known, self.cast = known, cast

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.browser = Browser(seed=secrets.token_hex(8))
        self.votes: Standing | None = None
        self._runs: Sequence[ComparedRun] = ()
        self._other = 0
        self._asked: tuple[Side, Side] | None = None  # whose votes are being read

    def show_compared(self, compared: Compared, other: int) -> None:
        """Show what the runs wrote; what one looks at stays in view."""
        if [run.id for run in compared.runs] != [run.id for run in self._runs]:
            self.browser = replace(self.browser, scripts=(), left=None, right=None)
        self._runs, self._other = compared.runs, other
        if compared.scripts is not None:
            self.browser = self.browser.of(compared.scripts, other)
        self._show()

    def facts(self) -> list[str]:
        """Return which runs are held against each other, and what steers it."""
        if self.browser.left is None or self.browser.right is None:
            return []
        one, other = (self._runs[side[0]].letter for side in (self.browser.left, self.browser.right))
        return [f"{one} and {other}", "j k prompts", "← → checkpoints", "{…} no passage supports it"]

    def lacking(self) -> str | None:
        """Return that there is no pair."""
        return None if self.browser.pair is not None else "There is no pair."

    def hides(self) -> str | None:
        """Return that names are hidden, while they are."""
        return "Who wrote what is hidden: h shows it." if self.browser.blind else None

    def written(self, style: str, store: Store) -> str:
        """Return the pairs that one goes through, with their votes."""
        digests, given = self._digests(), self.votes.given if self.votes is not None else {}
        winners = {}
        for prompt, key in digests.items():
            if key in given:
                side = given[key]
                winners[prompt] = "tie" if side is None else f"{side[0]} step {side[1]}"
        return of_pairs(style, self.browser, self._runs, winners)

    def restore(self) -> bool:
        """Show the names again, then all pairs."""
        if self.browser.blind:
            self.blind()
        elif self.browser.regressions:
            self.regressions()
        else:
            return False
        return True

    def row(self, by: int) -> None:
        """Go to another prompt."""
        self._change(self.browser.moved(by))

    @on(RowTable.Moved)
    def _pair_chosen(self, message: RowTable.Moved) -> None:
        message.stop()
        if message.key is not None and int(message.key) != self.browser.index:
            self._change(self.browser.moved(int(message.key) - self.browser.index))

    def move(self, direction: int) -> None:
        """Go to another checkpoint at the right."""
        self.checkpoint(direction, at_left=False)

    def checkpoint(self, direction: int, at_left: bool = True) -> None:
        """Go to another checkpoint of a side."""
        fresh = self.browser.stepped(direction, at_left=at_left)
        if fresh is None:
            end = "last" if direction > 0 else "first"
            self.post_message(Told(f"This is the {end} checkpoint with samples.", "warning"))
        else:
            self._change(fresh)

    def words(self) -> None:
        """Mark the words that differ, or not."""
        self._change(replace(self.browser, words=not self.browser.words))

    def regressions(self) -> None:
        """Show only the pairs whose right answer is worse, or all."""
        self._change(self.browser.only_regressions())

    def blind(self) -> None:
        """Hide who wrote what, or show it again."""
        self._change(replace(self.browser, blind=not self.browser.blind))

    def zero(self) -> None:
        """Vote for neither."""
        self.vote("tie")

    def vote(self, choice: str) -> None:
        """Vote for what is seen at the left or the right, or for neither, and go to the next prompt."""
        pair, both = self.browser.pair, sides_of(self.browser, self._runs)
        if self._app.readonly:
            self.post_message(Told("Read-only: this window changes nothing.", "warning"))
        elif pair is None or both is None:
            self.post_message(Told("There is no pair to vote on.", "warning"))
        else:
            better, who = chosen_side(self.browser, self._runs, choice)
            self._keep(pair.left.prompt, both, better, who, blind=self.browser.blind)
            self._change(self.browser.moved(1))  # the next vote is for the next one, however long the first one takes

    @property
    def _app(self) -> PlumblineApp:
        return cast("PlumblineApp", self.app)

    def _change(self, browser: Browser) -> None:
        self.browser = browser
        self._show()
        self.post_message(Changed())

    def _show(self) -> None:
        sides, pair = side_texts(self.browser, list(self._runs)), self.browser.pair
        if sides is None or pair is None:
            self.say(self._why_no_pair())
            return
        both = sides_of(self.browser, self._runs)
        if both is not None and both != self._asked:
            self.votes, self._asked = None, both
            self._read_votes(*both)
        where = f"prompt {self.browser.index + 1} of {len(self.browser.shown)}"
        where += f", worse at the right, of {self.browser.total}" if self.browser.regressions else ""
        where += f" {current().separator} {standing_text(self.votes, self.browser, self._runs)}"
        reference = visible(" ".join((pair.left.reference or "").split()))
        told = [f"reference: {reference}"] if reference else []
        told += [given] if (given := given_text(self.votes, self.browser)) else []
        self.show_pair(pair.left.prompt, where, f" {current().separator} ".join(told), sides)
        columns, rows = pair_columns(self.browser, self._runs), pair_rows(self.browser, self.votes, self._digests())
        self.list_pairs(columns, rows, self.browser.index)

    def _digests(self) -> dict[str, str]:
        """Return what the prompts are known by among the votes; of no vote, nothing is asked."""
        if self.votes is None or not self.votes.given:
            return {}
        from engine.store.votes import digest

        return {pair.left.prompt: digest(pair.left.prompt) for pair in self.browser.shown}

    def _why_no_pair(self) -> str:
        if not self.browser.scripts:
            return "reading…"
        if self.browser.left is None:
            chosen = dict.fromkeys((0, self._other))
            silent = [self._runs[place].id for place in chosen if not self.browser.scripts[place]]
            if not silent:
                return f"{self._runs[0].id} has samples of no two steps.\n\nJ  holds another run against it"
            return f"{' and '.join(silent)}: no samples yet. The model writes some at each evaluation."
        if self.browser.regressions and self.browser.total:
            return f"None of {self.browser.total} answers is worse at the right.\n\nf  shows all"
        return _NOTHING_IN_COMMON

    @work(thread=True, group="votes", exclusive=True)
    def _read_votes(self, one: Side, other: Side) -> None:
        try:
            self.post_message(self.VotesLoaded(standing(self._app.store, one, other), None))
        except PlumblineError as error:
            self.post_message(Told(str(error), "error"))

    @work(thread=True, group="vote")
    def _keep(self, prompt: str, both: tuple[Side, Side], better: Side | None, who: str, *, blind: bool) -> None:
        from engine.store import votes

        try:
            votes.vote(self._app.store, prompt, *both, better, blind=blind)
            self.post_message(self.VotesLoaded(standing(self._app.store, *both), who))
        except PlumblineError as error:
            self.post_message(Told(str(error), "error"))

    @on(VotesLoaded)
    def _votes_loaded(self, message: VotesLoaded) -> None:
        if sides_of(self.browser, self._runs) != (message.known.one, message.known.other):
            return
        self.votes = message.known
        self._change(self.browser)
        if message.cast is not None:
            self.post_message(Told(f"Your vote is kept: {message.cast}."))
