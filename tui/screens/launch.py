"""The launch form: fields made from the spec's own types, and beside them the plan, made as one types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, Static

from engine.errors import PlumblineError
from tui.actions import table
from tui.actions.action import key_name
from tui.form.fields import Field, Shape
from tui.form.listing import counted, listed
from tui.form.pipeline_draft import PipelineDraft
from tui.form.values import editable, next_choice, shown
from tui.launches import PipelinePlan, Plan
from tui.plan_text import cost, pipeline_lines, plan_lines, question, refusal_lines
from tui.safe_text import visible
from tui.screens.confirm import ConfirmScreen
from tui.widgets.form_editor import FormEditor, PathSuggester
from tui.widgets.form_table import FormTable
from tui.widgets.key_bar import KeyBar
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from tui.app import PlumblineApp
    from tui.form.draft import Draft

_PATIENCE = 0.15  # seconds without a key before the plan is made anew
_FOLDED = ("supervision", "train.health")  # what is seldom changed
_QUIET = "$foreground 60%"


class LaunchScreen(Screen[list[str] | None]):
    """Dismissed with the ids of what was queued, or null."""

    CSS_PATH = "launch.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("launch"))
    AUTO_FOCUS = "#form"

    def __init__(self, draft: Draft, references: tuple[str, ...] = ()) -> None:
        """references: outputs of experiments that may stand in place of a path."""
        super().__init__()
        self.draft = draft
        self.plan: Plan | PipelinePlan | None = None
        self._references = references
        self._faults: dict[str, str] = {}
        self._problem = ""
        self._only_changed = False
        self._editing: tuple[Field, Callable[[], None]] | None = None  # which field, and what takes the edit back
        sections = [field.key for field in draft.fields if field.is_section]
        is_pipeline = isinstance(draft, PipelineDraft)
        stages = {field.key for field in draft.fields if field.is_section and field.depth == 0 and field.key != "--"}
        folded = [key for key in sections if key.endswith(_FOLDED)]
        self._folded = set(folded) | (stages if is_pipeline else set())
        self._top = TopLine(draft.title)
        self._search = Input(placeholder="words of a field, or of what it means", id="search", compact=True)
        self._form = FormTable(id="form")
        self._editor = FormEditor(id="editor", compact=True)
        self._about = Static(id="about", markup=False)
        self._fields_pane = Vertical(Container(self._form, self._editor, id="body"), self._about, id="fields")
        self._plan_text = Story(empty="…", id="plan-text")
        self._plan_pane = Vertical(self._plan_text, id="plan")
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
            yield self._fields_pane
            yield self._plan_pane
        yield self.status
        yield KeyBar()

    def on_mount(self) -> None:
        self._fields_pane.border_title = "fields"
        self._plan_pane.border_title = "plan"
        self._top.show([], "" if self.draft.request().clone else visible(self.draft.source))
        self.status.facts(Content("^j queues it, ^s saves it as a recipe, esc leaves"))
        self._show()
        self.check()

    # What is shown

    def _show(self) -> None:
        """Show the fields as they are now."""
        fields = self.draft.fields
        shown = listed(fields, search=self._search.value, only_changed=self._only_changed, folded=self._folded)
        narrowed = bool(self._search.value) or self._only_changed
        self._form.show_fields(shown, self._faults, () if narrowed else tuple(self._folded))
        self._fields_pane.border_subtitle = counted(fields, shown)
        self._tell()

    def _tell(self) -> None:
        """Say what the field under the cursor means, and whether what it holds is right."""
        field = self._field
        if field is None:
            self._about.update(Content.assemble(("No field matches. esc shows all again.", _QUIET)), layout=False)
            return
        name = field.key.removeprefix("--skip ") if field.shape is not Shape.HEADING else field.label
        allowed = f": {field.allowed}" if field.allowed else ""
        lines = [Content.assemble((visible(name), "bold"), f"  {visible(field.description)}", (allowed, _QUIET))]
        if field.choices and not field.allowed:
            lines.append(Content.assemble((f"{visible(', '.join(field.choices))}", _QUIET)))
        fault = self._faults.get(field.key)
        if fault:
            lines.append(Content.assemble((visible(" ".join(fault.split())), "$error")))
        elif field.shape is Shape.SECTION:
            there = isinstance(field.value, dict)
            lines.append(Content.assemble(("u takes it out again" if there else f"{key_name('enter')} puts it in", _QUIET)))
        self._about.update(Content("\n").join(lines), layout=False)

    @property
    def _field(self) -> Field | None:
        return self.draft.field(self._form.selected) if self._form.selected else None

    @on(FormTable.Moved)
    def _moved(self) -> None:
        self._tell()

    # The plan

    @work(exclusive=True, group="check")
    async def check(self) -> None:
        """Check what the fields say, and show the plan or what is wrong with it."""
        self.plan = None
        await asyncio.sleep(_PATIENCE)
        app, draft = self.plumbline, self.draft
        faults = draft.launch.faults() | await asyncio.to_thread(draft.faults)
        self._faults = faults
        if faults:
            self._refuse("\n".join(dict.fromkeys(faults.values())), faults)
            return
        try:
            plan = await asyncio.to_thread(draft.plan, app.intents.launcher)
        except PlumblineError as error:
            self._refuse(str(error), self._attributed(error))
            return
        self.plan, self._problem = plan, ""
        lines = pipeline_lines if isinstance(plan, PipelinePlan) else plan_lines
        self._plan_text.show(lines(plan, app.named_database))  # type: ignore[arg-type]
        self._show()

    def _attributed(self, error: PlumblineError) -> dict[str, str]:
        """Return the fault by the key that its sentence begins with, if it names one."""
        first = error.message.split(" ", 1)[0].rstrip(":")
        return {first: f"{error.message} {error.hint or ''}".strip()} if self.draft.field(first) else {}

    def _refuse(self, sentence: str, faults: dict[str, str]) -> None:
        self._problem, self._faults = sentence, faults
        self._plan_text.show(refusal_lines(sentence, self._command()))
        self._show()

    def _command(self) -> str:
        return self.draft.request().command(self.plumbline.named_database)

    # Editing

    def action_edit(self) -> None:
        """Edit the field under the cursor; fold or unfold a section, put an absent one in."""
        field = self._field
        if field is None:
            return
        if field.shape is Shape.SECTION and not isinstance(field.value, dict):
            self._set(field, "{}")
        elif field.shape is Shape.HEADING or (field.shape is Shape.SECTION and field.is_section):
            self._fold(field)
        elif field.shape is Shape.TRUTH:
            self.action_choose(1)
        elif field.shape is Shape.CHOICE:
            self._choose_from(field)
        else:
            self._begin_edit(field)

    @work
    async def _choose_from(self, field: Field) -> None:
        from tui.screens.menu import Choice, MenuScreen

        now = shown(field.value)
        words = dict.fromkeys((*(("null",) if field.nullable else ()), *field.choices))
        menu = MenuScreen(
            field.label, [Choice(word, word, current=word == now) for word in words], told=field.description
        )
        chosen = await self.plumbline.push_screen_wait(menu)
        if chosen is not None:
            self._set(field, chosen)

    def _begin_edit(self, field: Field, *, again: bool = True) -> None:
        place = self._form.value_at()
        if place is None:  # it is not laid out yet
            if again:
                self.call_after_refresh(self._begin_edit, field, again=False)
            return
        x, y, width = place
        text = editable(field)
        self._editing = field, self.draft.remember()
        with self.prevent(Input.Changed):
            self._editor.value = text
        is_path = field.shape is Shape.PATH
        folder = getattr(self.draft, "folder", None)
        self._editor.suggester = PathSuggester(folder, self._references) if is_path and folder is not None else None
        self._editor.styles.offset = (x, y)
        self._editor.styles.width = width
        self._editor.add_class("-shown")
        self._editor.can_focus = True
        self._editor.focus()

    @on(Input.Changed, "#editor")
    def _typed(self, event: Input.Changed) -> None:
        if self._editing is not None:
            self.draft.set(self._editing[0], event.value)
            self.check()

    @on(Input.Submitted, "#editor")
    def _submitted(self) -> None:
        self._end_edit()

    @on(FormEditor.Left)
    def _left(self, message: FormEditor.Left) -> None:
        self._end_edit()
        self._form.action_move(message.by)

    def _end_edit(self, *, keep: bool = True) -> None:
        if self._editing is None:
            return
        _, take_back = self._editing
        self._editing = None
        self._editor.remove_class("-shown")
        self._form.focus()
        if not keep:
            take_back()
        self._show()
        self.check()

    def _set(self, field: Field, text: str) -> None:
        self.draft.set(field, text)
        self._show()
        self.check()

    def action_choose(self, by: int) -> None:
        """Take the next choice, or the one before; unfold or fold a section."""
        field = self._field
        if field is None:
            return
        if field.is_section:
            (self._folded.discard if by > 0 else self._folded.add)(field.key)
            self._show()
            return
        chosen = next_choice(field, by)
        if chosen is not None:
            self._set(field, chosen)

    def action_turn(self) -> None:
        """Turn yes and no, or fold a section."""
        field = self._field
        if field is not None and field.is_section:
            self._fold(field)
        elif field is not None and field.shape in (Shape.TRUTH, Shape.CHOICE):
            self.action_choose(1)

    def _fold(self, field: Field) -> None:
        (self._folded.discard if field.key in self._folded else self._folded.add)(field.key)
        self._show()

    def action_take_back(self) -> None:
        """Give the field the value that it began with."""
        field = self._field
        if field is not None:
            self.draft.reset(field)
            self._show()
            self.check()

    # Search and panes

    def action_search(self) -> None:
        """Search the fields."""
        self.remove_class("-plan")
        self.add_class("-searching")
        self._search.focus()

    @on(Input.Changed, "#search")
    def _searched(self) -> None:
        self._show()

    @on(Input.Submitted, "#search")
    def _search_done(self) -> None:
        self.set_class(bool(self._search.value), "-searching")
        self._form.focus()

    def action_only_changed(self) -> None:
        """Show only what was changed, or all."""
        self._only_changed = not self._only_changed
        self._show()

    def action_pane(self) -> None:
        """Go to the other pane."""
        in_plan = self._plan_text.has_focus
        self.set_class(not in_plan, "-plan")
        (self._form if in_plan else self._plan_text).focus()

    def action_leave(self) -> None:
        """Undo the innermost thing: an edit, a search, the plan; then leave."""
        if self._editing is not None:
            self._end_edit(keep=False)
        elif self._search.value or self._search.has_focus:
            self._search.value = ""
            self.remove_class("-searching")
            self._form.focus()
        elif self._only_changed:
            self.action_only_changed()
        elif self._plan_text.has_focus:
            self.action_pane()
        else:
            self._leave()

    @work
    async def _leave(self) -> None:
        changes = self.draft.changes
        if changes:
            lost = (
                f"{changes} changed field{'s' if changes != 1 else ''} would be forgotten; ^s saves them as a recipe."
            )
            asked = f"Leave the form of {visible(self.draft.source)}?"
            if not await self.plumbline.push_screen_wait(ConfirmScreen(asked, verb="Leave", cost=lost)):
                return
        self.dismiss(None)

    # What leaves the form

    def action_copy_command(self) -> None:
        """Copy the command that does the same."""
        self.plumbline.copy_to_clipboard(self._command())
        self.status.say("The command is on the clipboard.")

    @work
    async def action_queue(self) -> None:
        """Queue what the plan shows, when that is confirmed."""
        self._end_edit()
        plan, app = self.plan, self.plumbline
        if plan is None:
            count = len(self._faults)
            problem = (
                self._problem.splitlines()[0] if self._problem else "the plan is being made; once more in a moment."
            )
            many = f"{count} errors, the first: " if count > 1 else ""
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

        screen = await asyncio.to_thread(preview_of, self.draft, self._field, self.plumbline.database)
        if isinstance(screen, str):
            self.status.say(screen, "warning")
        else:
            self.plumbline.push_screen(screen)
