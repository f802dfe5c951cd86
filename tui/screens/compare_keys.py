"""The keys of the Compare screen that one tab or another understands."""

from __future__ import annotations

from tui.screens.following import FollowingScreen
from tui.widgets.compare_pane import ComparePane

# Where a key means something that means nothing to the tab that is shown.
_ELSEWHERE = {
    **dict.fromkeys(("words", "regressions", "blind", "vote", "checkpoint"), "This key is for samples: s goes there."),
    **dict.fromkeys(("next_mode", "next_scale", "zoom", "turn_page"), "This key is for curves: c goes there."),
    **dict.fromkeys(("smoother", "inspect"), "This key is for curves and reward-KL: c and p go there."),
    "everything": "= shows all keys of the specs: d goes there.",
    "move": "← → move something in the other tabs.",
}


class CompareKeys(FollowingScreen):
    """Hands each key to the tab that is shown; where that does not know it, the status line says for which it is."""

    @property
    def pane(self) -> ComparePane | None:
        """The tab that is shown; null while there is nothing to compare."""
        raise NotImplementedError

    def _ask(self, what: str, *arguments: object) -> None:
        """Let the tab do something, or say for which one the key is."""
        if self.pane is None:
            return
        do = getattr(self.pane, what, None)
        if do is None:
            self.status.say(_ELSEWHERE.get(what, "This key means nothing here: ? shows those that do."), "warning")
        else:
            do(*arguments)

    def action_everything(self) -> None:
        """Show all keys of the specs, or only those that differ; zoom the curves."""
        self._ask("everything")

    def action_move(self, direction: int) -> None:
        """Move crosshair, mark or window; another column of a table; the checkpoint at the right."""
        self._ask("move", direction)

    def action_checkpoint(self, direction: int) -> None:
        """Go to another checkpoint at the left."""
        self._ask("checkpoint", direction)

    def action_row(self, by: int) -> None:
        """Go to the chart below or above, or to another prompt."""
        self._ask("row", by)

    def action_words(self) -> None:
        """Mark the words that differ, or not."""
        self._ask("words")

    def action_regressions(self) -> None:
        """Show only the pairs that became worse, or all."""
        self._ask("regressions")

    def action_blind(self) -> None:
        """Hide who wrote what, or show it again."""
        self._ask("blind")

    def action_zero(self) -> None:
        """Show the whole curves; in samples, vote for neither."""
        self._ask("zero")

    def action_vote(self, choice: str) -> None:
        """Vote for what is seen at the left or the right."""
        self._ask("vote", choice)

    def action_inspect(self) -> None:
        """Show or hide the crosshair."""
        self._ask("inspect")

    def action_next_mode(self) -> None:
        """Let the x axis count the next thing."""
        self._ask("next_mode")

    def action_next_scale(self) -> None:
        """Change the y axis."""
        self._ask("next_scale")

    def action_smoother(self, by: int) -> None:
        """Smooth more or less."""
        self._ask("smoother", by)

    def action_zoom(self, direction: int) -> None:
        """Show less or more of the x axis."""
        self._ask("zoom", direction)

    def action_page(self, by: int) -> None:
        """Show more charts."""
        self._ask("turn_page", by)
