"""The launch form: fields made from the spec's own types, and beside them the plan, made as one types."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerCancelled, WorkerFailed

from engine.errors import PlumblineError
from tui.actions import table
from tui.form.launches import PipelinePlan, Plan, Request
from tui.form.pipeline_draft import PipelineDraft
from tui.form.plan_text import cost, pipeline_lines, plan_lines, question, refusal_lines
from tui.screens.confirm import ConfirmScreen
from tui.screens.whole import WholeScreen
from tui.text.safe import visible
from tui.widgets.form_pane import FormPane
from tui.widgets.key_bar import KeyBar
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from tui.app import PlumblineApp
    from tui.form.draft import Draft

_PATIENCE = 0.15  # seconds without a key before the plan is made anew


class LaunchScreen(WholeScreen[list[str] | None]):
    """Dismissed with the ids of what was queued, or null."""

    CSS_PATH = "launch.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("launch"))
    AUTO_FOCUS = "#form"

    def __init__(self, draft: Draft, references: tuple[str, ...] = ()) -> None:
        """references: outputs of experiments that may stand in place of a path."""
        super().__init__()
        self.draft = draft
        self.plan: Plan | PipelinePlan | None = None  # null: it is being made, or something is wrong
        self._problem = ""
        self._faults = 0
        self._checking: Worker[None] | None = None
        self._top = TopLine(draft.title)
        self._search = Input(placeholder="words of a field, or of what it means", id="search", compact=True)
        self.form = FormPane(draft, references, id="fields")
        self.plan_text = Story(empty="…", id="plan-text")
        self._plan_pane = Vertical(self.plan_text, id="plan")
        self.status = StatusLine(id="status")

    @property
    def plumbline(self) -> PlumblineApp:
        """The app, by its own type."""
        return cast("PlumblineApp", self.app)

    def compose(self) -> ComposeResult:
        yield self._top
        with Horizontal(id="search-line"):
            yield Static("/", id="search-sign", markup=False)
            yield self._search
        with Horizontal(id="panes"):
            yield self.form
            yield self._plan_pane
        yield self.status
        yield KeyBar()

    def on_mount(self) -> None:
        self._plan_pane.border_title = "plan"
        recipe = self.draft.request().recipe
        self._top.show([], "" if recipe is None else visible(str(recipe)))
        self.status.facts(Content("^j queues it, ^s saves it as a recipe, esc leaves"))
        self._changed()

    @on(FormPane.Changed)
    def _changed(self) -> None:
        self._checking = self.check()

    @work(exclusive=True, group="check")
    async def check(self) -> None:
        """Check what the fields say, and show the plan or what is wrong with it."""
        self.plan = None
        await asyncio.sleep(_PATIENCE)
        app, request = self.plumbline, self.draft.request()
        faults = self.draft.launch.faults() | await asyncio.to_thread(self.draft.faults, dict(self.draft.settings))
        if faults:
            self._refuse("\n".join(dict.fromkeys(faults.values())), request, faults)
            return
        is_pipeline = isinstance(self.draft, PipelineDraft)
        make = app.intents.launcher.plan_pipeline if is_pipeline else app.intents.launcher.plan
        try:
            plan: Plan | PipelinePlan = await asyncio.to_thread(make, request)
        except PlumblineError as error:
            told, faults = self._told(error)
            self._refuse(told, request, faults)
            return
        self.plan, self._problem, self._faults = plan, "", 0
        database = app.named_database
        self.plan_text.show(
            pipeline_lines(plan, database) if isinstance(plan, PipelinePlan) else plan_lines(plan, database)
        )
        self.form.show_faults({})

    def _told(self, error: PlumblineError) -> tuple[str, dict[str, str]]:
        """Return what to say of a fault, and the same by the key that it is of, if it names one."""
        from engine.dispatch.fitting import CannotRun

        if isinstance(error, CannotRun):
            way = "Or queue it all the same: turn force to true, among the fields of the launch."
            if "--gpu-memory" in (error.hint or ""):
                way += " If the GPUs have another size, say it at GPU memory."
            return f"{error.message} {way}", {"--force": error.message}
        first = error.message.split(" ", 1)[0].rstrip(":")
        known = self.draft.field(first) is not None
        return str(error), {first: f"{error.message} {error.hint or ''}".strip()} if known else {}

    def _refuse(self, sentence: str, request: Request, faults: Mapping[str, str]) -> None:
        self._problem, self._faults = sentence, len(faults)
        self.plan_text.show(refusal_lines(sentence, request.command(self.plumbline.named_database)))
        self.form.show_faults(faults)

    def action_edit(self) -> None:
        """Edit the field under the cursor."""
        self.form.edit()

    def action_choose(self, by: int) -> None:
        """Take the next choice, or the one before."""
        self.form.choose(by)

    def action_turn(self) -> None:
        """Turn yes and no, or fold a section."""
        self.form.turn()

    def action_take_back(self) -> None:
        """Give the field the value that it began with."""
        self.form.take_back()

    def action_search(self) -> None:
        """Search the fields."""
        self.remove_class("-plan")
        self.add_class("-searching")
        self._search.focus()

    @on(Input.Changed, "#search")
    def _searched(self, event: Input.Changed) -> None:
        self.form.search(event.value)

    @on(Input.Submitted, "#search")
    def _search_done(self) -> None:
        self.set_class(bool(self._search.value), "-searching")
        self.form.table.focus()

    def action_only_changed(self) -> None:
        """Show only what was changed, or all."""
        self.form.toggle_changed()

    def action_pane(self) -> None:
        """Go to the other pane."""
        in_plan = self.plan_text.has_focus
        self.set_class(not in_plan, "-plan")
        (self.form.table if in_plan else self.plan_text).focus()

    def action_leave(self) -> None:
        """Undo the innermost thing: an edit, a search, the plan; then leave."""
        if self.form.is_editing:
            self.form.end_edit(keep=False)
        elif self._search.value or self._search.has_focus:
            self._search.value = ""
            self.remove_class("-searching")
            self.form.table.focus()
        elif self.form.only_changed:
            self.form.toggle_changed()
        elif self.plan_text.has_focus:
            self.action_pane()
        else:
            self._leave()

    @work
    async def _leave(self) -> None:
        if not self.unsaved or await self.may_leave():
            self.dismiss(None)

    @property
    def unsaved(self) -> bool:
        """Whether something would be forgotten if it were left."""
        return self.draft.changes > 0

    async def may_leave(self) -> bool:
        """Ask whether what was changed may be forgotten; for workers."""
        changes = self.draft.changes
        fields = f"{changes} changed field{'s' if changes != 1 else ''}"
        screen = ConfirmScreen(
            f"Leave the form of {visible(self.draft.source)}?",
            verb="Leave",
            cost=f"{fields} would be forgotten; ^s saves them as a recipe.",
        )
        return await self.plumbline.push_screen_wait(screen) is True

    def action_copy_command(self) -> None:
        """Copy the command that does the same."""
        self.plumbline.copy_to_clipboard(self.draft.request().command(self.plumbline.named_database))
        self.status.say("The command is on the clipboard.")

    @work
    async def action_queue(self) -> None:
        """Queue what the plan shows, when that is confirmed. A plan that is being made is waited for."""
        while self._checking is not None and not self._checking.is_finished:
            self.status.say("The plan is being made…")
            with suppress(WorkerFailed, WorkerCancelled):  # cancelled: something was changed, and it is made anew
                await self._checking.wait()
        plan, app = self.plan, self.plumbline
        if plan is None:
            problem = next(iter(self._problem.splitlines()), "there is no plan.")
            many = f"{self._faults} errors, the first: " if self._faults > 1 else ""
            self.status.say(f"Not queued: {many}{problem}", "error")
            return
        command = plan.request.command(app.named_database)
        screen = ConfirmScreen(question(plan), verb="Launch", cost=cost(plan), command=command)
        if not await app.push_screen_wait(screen):
            return
        try:
            ids = await asyncio.to_thread(app.intents.launcher.launch, plan)
        except PlumblineError as error:
            self.status.say(str(error), "error")
        else:
            self.dismiss(ids)

    @work
    async def action_save(self) -> None:
        """Save the spec as a recipe."""
        from tui.screens.save_recipe import save_recipe

        await save_recipe(self)

    @work
    async def action_preview(self) -> None:
        """Show the first rows of the data file under the cursor, or of the training data."""
        from tui.screens.preview import preview_of

        screen = preview_of(self.draft, self.form.field, self.plumbline.database)
        if isinstance(screen, str):
            self.status.say(screen, "warning")
        else:
            self.plumbline.push_screen(screen)
