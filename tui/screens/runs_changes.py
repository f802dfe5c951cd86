"""What a person does with runs of the list: marks, baseline, differences, and bookkeeping that can be undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual import work

from engine.errors import PlumblineError
from tui.actions import table
from tui.screens.following import FollowingScreen

if TYPE_CHECKING:
    from engine.store.experiment import Experiment
    from engine.store.journal import Step
    from tui.data import Overview
    from tui.widgets.run_table import RunTable

_FEW = 3  # runs that a sentence names


class RunChanges(FollowingScreen):
    """A part of the Runs screen."""

    overview: Overview | None
    table: RunTable

    @property
    def selected(self) -> Experiment | None:
        """The experiment under the cursor."""
        raise NotImplementedError

    @property
    def marked(self) -> tuple[Experiment, ...]:
        """The marked experiments that are known here."""
        raise NotImplementedError

    @property
    def listed(self) -> Sequence[Experiment]:
        """The experiments that the filter leaves."""
        raise NotImplementedError

    def tell_marks(self) -> None:
        """Show the marks as they are now."""
        raise NotImplementedError

    def targets(self) -> list[Experiment]:
        """Return what bookkeeping acts on: the marked ones, or else the one under the cursor."""
        return list(self.marked) or ([self.selected] if self.selected is not None else [])

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take its mark away; of a range, mark all."""
        if self.table.chosen_range is not None:
            self.action_range()
        elif self.selected is not None:
            self.plumbline.marks.toggle(self.selected.id)
            self.table.action_move(1)
            self.tell_marks()

    def action_range(self) -> None:
        """Begin a range at the cursor; end it, and mark what is in it."""
        found = self.table.chosen_range
        if found is None:
            self.table.begin_range()
            self.plumbline.say("A range begins here: move, then v or space marks it, esc gives it up.")
        else:
            self.table.end_range()
            self.plumbline.marks.mark(one.id for one in found)
            self.tell_marks()
            self._say_marked("")

    def action_mark_all(self) -> None:
        """Mark all that the filter leaves; when all are, none."""
        marks, ids = self.plumbline.marks, [one.id for one in self.listed]
        if ids and set(ids) <= set(marks.marked):
            marks.clear()
            self.plumbline.say("No run is marked.")
        else:
            marks.mark(ids)
            self._say_marked("; esc takes the marks away")
        self.tell_marks()

    def _say_marked(self, more: str) -> None:
        number = len(self.marked)
        self.plumbline.say(f"{_runs(number)} {_are(number)} marked{more}.")

    def action_baseline(self) -> None:
        """Make the run under the cursor the baseline, or no longer."""
        if self.selected is not None:
            is_now = self.plumbline.marks.set_baseline(self.selected.id)
            said = f"{self.selected.id} is the baseline: d shows what differs from it." if is_now else "No baseline."
            self.plumbline.say(said)
            self.tell_marks()

    @work
    async def action_diff(self) -> None:
        """Show in which keys the spec differs from the baseline's, or else from its parent's."""
        from tui.run.detail import DetailReader
        from tui.screens.difference import DifferenceScreen

        one = self.selected
        if one is None:
            return
        baseline = self.plumbline.marks.baseline
        against = baseline if baseline not in (None, one.id) else one.parent_id
        if against is None:
            self.plumbline.say(
                f"{one.id} has nothing to differ from: b on another run makes that the baseline.", "warning"
            )
            return
        try:
            found = await asyncio.to_thread(DetailReader(self.plumbline.store).differences, against, one.id)
        except PlumblineError as error:
            self.plumbline.say(str(error), "error")
        else:
            await self.app.push_screen_wait(DifferenceScreen(one.id, against, found))

    @work
    async def action_tag(self) -> None:
        """Ask for tags to add or take away."""
        from engine.store import bookkeeping
        from tui.screens.ask import AskScreen

        targets = self.targets()
        have = list(dict.fromkeys(tag for one in targets for tag in one.tags))
        told = f"{'They have' if len(targets) > 1 else 'It has'} {' '.join(have)}. " if have else ""
        known = sorted({tag for one in (self.overview.experiments if self.overview else ()) for tag in one.tags})
        line = await self.app.push_screen_wait(
            AskScreen(
                f"tags of {_named(targets)}",
                told=f"{told}Words are added; -word takes one away.",
                placeholder="base -broken",
                suggestions=[*known, *(f"-{tag}" for tag in have)],
            )
        )
        words = line.split() if line else []
        add = [word for word in words if not word.startswith("-")]
        remove = [word[1:] for word in words if word.startswith("-") and len(word) > 1]
        if add or remove:
            ids = [one.id for one in targets]
            done = " and ".join([f"+{word}" for word in add] + [f"-{word}" for word in remove])
            await self._change(
                lambda: bookkeeping.change_tags(self.plumbline.store, ids, add=add, remove=remove),
                f"{_named(targets)}: {done}.",
            )

    @work
    async def action_note(self) -> None:
        """Ask for a line about the runs."""
        from engine.store import bookkeeping
        from tui.screens.ask import AskScreen

        targets = self.targets()
        notes = {one.note or "" for one in targets}
        told = "" if len(notes) == 1 else f"It takes the place of {len(notes)} different notes."
        value = " ".join(notes.pop().split()) if len(notes) == 1 else ""
        line = await self.app.push_screen_wait(AskScreen(f"note on {_named(targets)}", value=value, told=told))
        if line is not None and line != value:
            ids = [one.id for one in targets]
            done = "noted" if line else "no note any more"
            await self._change(
                lambda: bookkeeping.set_note(self.plumbline.store, ids, line), f"{_named(targets)}: {done}."
            )

    @work
    async def action_pin(self) -> None:
        """Pin the runs, or, when all are, take the pins away."""
        from engine.store import bookkeeping

        targets = self.targets()
        pinned = not all(one.pinned_at is not None for one in targets)
        ids = [one.id for one in targets]
        done = "pinned to the top" if pinned else "no longer pinned"
        await self._change(lambda: bookkeeping.pin(self.plumbline.store, ids, pinned), f"{_named(targets)}: {done}.")

    @work
    async def action_archive(self) -> None:
        """Archive the runs, or, when all are archived, bring them back; of several, ask first."""
        from engine.store import bookkeeping

        targets = self.targets()
        back = all(one.archived_at is not None for one in targets)
        chosen = targets if back else [one for one in targets if one.archived_at is None and one.state.ended]
        left = len(targets) - len(chosen)
        ids = [one.id for one in chosen]
        if len(targets) > 1 and not await self._confirmed_archive(chosen, left, back):
            return
        act = bookkeeping.restore if back else bookkeeping.archive
        done = f"{_named(chosen)} {_are(len(chosen))} {'back' if back else 'archived'}."
        if await self._change(
            lambda: act(self.plumbline.store, ids), done if back else f"{done} A shows archived runs."
        ):
            self.plumbline.marks.clear()
            self.tell_marks()

    async def _confirmed_archive(self, chosen: Sequence[Experiment], left: int, back: bool) -> bool:
        from tui.screens.confirm import ConfirmScreen

        verb = "Bring back" if back else "Archive"
        entry = table.find("archive")
        command = entry.twin(self.plumbline.context, self.plumbline.named_database) if entry else None
        not_these = (
            f" Of the marked, {_runs(left)} {'stays' if left == 1 else 'stay'}: not ended, or archived already."
            if left
            else ""
        )
        screen = ConfirmScreen(
            f"{verb} {_runs(len(chosen))}?",
            verb=verb,
            cost=f"{_listed(chosen)}. Nothing is deleted; z undoes it.{not_these}",
            command=command.replace("archive", "restore", 1) if command and back else command,
        )
        return await self.app.push_screen_wait(screen) is True

    @work
    async def action_undo(self) -> None:
        """Take the last change back."""
        from engine.store import journal

        await self._turn(journal.undo, "Undone", "^z does it again")

    @work
    async def action_redo(self) -> None:
        """Do again what was undone last."""
        from engine.store import journal

        await self._turn(journal.redo, "Done again", "z undoes it")

    async def _turn(self, turn: Callable[[Any], Step], verb: str, other: str) -> None:
        try:
            step = await asyncio.to_thread(turn, self.plumbline.store)
        except PlumblineError as error:
            self.plumbline.say(_sentence(error), "warning")
        else:
            self.plumbline.say(f"{verb}: {step.what}. {other}.")
            if step.ids:
                self.table.select(step.ids[0])

    async def _change(self, act: Callable[[], None], done: str) -> bool:
        try:
            await asyncio.to_thread(act)
        except PlumblineError as error:
            self.plumbline.say(str(error), "error")
            return False
        self.plumbline.say(f"{done} z undoes it.")
        return True


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _named(chosen: Sequence[Experiment]) -> str:
    return chosen[0].id if len(chosen) == 1 else f"{len(chosen)} runs"


def _listed(chosen: Sequence[Experiment]) -> str:
    named = ", ".join(one.id for one in chosen[:_FEW])
    return named if len(chosen) <= _FEW else f"{named} and {len(chosen) - _FEW} more"


def _sentence(error: PlumblineError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
