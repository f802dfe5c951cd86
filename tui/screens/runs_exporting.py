"""The list of runs, or a page of some of them, into files of the working folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work

from engine.errors import PlumblineError
from tui.run_list import View
from tui.screens.following import FollowingScreen
from tui.screens.menu import Choice, MenuScreen
from tui.text.safe import visible

if TYPE_CHECKING:
    from engine.store.experiment import Experiment
    from tui.data import Overview

_PAGE = "page"
_STYLES = (("csv", "CSV"), ("json", "JSON"), ("html", "a page (HTML)"))


class RunExports(FollowingScreen):
    """A part of the Runs screen."""

    view: View
    overview: Overview | None
    _listed: Sequence[Experiment]

    @property
    def selected(self) -> Experiment | None:
        """The experiment under the cursor."""
        raise NotImplementedError

    @property
    def marked(self) -> tuple[Experiment, ...]:
        """The marked experiments."""
        raise NotImplementedError

    @work
    async def action_export(self) -> None:
        """Ask what to write, and write it: the marked runs, or all that the filter leaves."""
        marked, listed, view = self.marked, self._listed, self.view
        shown, filtered = marked or listed, "" if marked else view.filter
        beside = self._beside()
        chosen = await self.app.push_screen_wait(MenuScreen("export", export_choices(len(shown), marked, beside)))
        if chosen is None:
            return
        specs = (self.overview.specs or {}) if self.overview else {}
        try:
            if chosen == _PAGE:
                from tui.page_file import write_page

                self.plumbline.say(f"Making a page of {', '.join(beside)}…")
                path = await write_page(self.plumbline.database, beside, Path.cwd())
            else:
                path = await asyncio.to_thread(self._write_list, chosen, shown, view.sort, specs, filtered)
        except PlumblineError as error:
            self.plumbline.say(str(error), "error")
        else:
            self.plumbline.say(f"Wrote {visible(str(path))}.")

    def _beside(self) -> list[str]:
        """Return the ids that a page would have: what is marked, else the run under the cursor."""
        if self.marked:
            return list(self.plumbline.marks.chosen())
        return [self.selected.id] if self.selected is not None else []

    def _write_list(
        self, style: str, shown: Sequence[Experiment], sort: str, specs: Mapping[str, Any], expression: str
    ) -> Path:
        from engine.report.listing.files import written
        from engine.report.written import write_new
        from engine.store.ordering import ordered

        lines = ordered(shown, sort, specs=specs, now=time.time())
        return write_new(Path.cwd(), "runs", style, written(self.plumbline.store, style, lines, expression))


def export_choices(number: int, marked: Sequence[Experiment], beside: Sequence[str]) -> list[Choice]:
    """Return what can be written. number: of runs in the list. beside: ids that a page would have."""
    runs = f"{number} run{'s' if number != 1 else ''}"
    what = f"{number} marked run{'s' if number != 1 else ''}" if marked else f"all {runs} of the list"
    lacking = None if number else "There is no run to write."
    left = len(marked) - len(beside)
    note = f"{left} more have no room" if left > 0 else ""
    page = f"{beside[0]} in full" if len(beside) == 1 else f"{len(beside)} runs side by side"
    return [
        *(Choice(style, f"{what} as {title}", style[0], f"runs.{style}", refused=lacking) for style, title in _STYLES),
        Choice(
            _PAGE,
            f"{page if beside else 'a run'} as a page (HTML)",
            "p",
            note or "curves, specs, answers",
            refused=None if beside else "No run is under the cursor, and none is marked.",
        ),
    ]
