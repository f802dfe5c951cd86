"""The fields of a launch: a table to move in, a line to edit in, and below what the field under the cursor means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tui.actions.action import key_name
from tui.form.draft import Draft
from tui.form.fields import Field, Shape
from tui.form.listing import counted, listed
from tui.form.pipeline_draft import PipelineDraft
from tui.form.values import editable, next_choice, shown
from tui.screens.menu import Choice, MenuScreen
from tui.text.safe import visible
from tui.widgets.form_editor import FormEditor, PathSuggester
from tui.widgets.form_table import FormTable

if TYPE_CHECKING:
    from tui.app import PlumblineApp

_SELDOM = ("supervision", "train.health")  # what is folded at first
_QUIET = "$foreground 60%"


class FormPane(Vertical):
    """Changes the draft, and says so."""

    DEFAULT_CSS = """
    FormPane {
        #body { layers: base edit; height: 1fr; }
        #form { layer: base; }
        #about { height: 5; padding: 0 1; border-top: solid $border-blurred; }
    }
    """

    class Changed(Message):
        """A field has another value."""

    def __init__(self, draft: Draft, references: tuple[str, ...], *, id: str | None = None) -> None:
        """references: outputs of experiments that may stand in place of a path."""
        super().__init__(id=id)
        self.draft, self._references = draft, references
        self.table = FormTable(id="form")
        self._editor = FormEditor(id="editor", compact=True)
        self._about = Static(id="about", markup=False)
        self._faults: Mapping[str, str] = {}
        self._search = ""
        self._only_changed = False
        self._editing: tuple[Field, Callable[[], None]] | None = None  # which field, and what takes the edit back
        self._folded = set(_folded_at_first(draft))

    def compose(self) -> ComposeResult:
        yield Container(self.table, self._editor, id="body")
        yield self._about

    def on_mount(self) -> None:
        self.border_title = "fields"
        self.refresh_fields()

    @property
    def field(self) -> Field | None:
        """The field under the cursor."""
        return self.draft.field(self.table.selected) if self.table.selected else None

    @property
    def is_editing(self) -> bool:
        """Whether a value is being typed."""
        return self._editing is not None

    @property
    def only_changed(self) -> bool:
        """Whether what is as it began is left out."""
        return self._only_changed

    def refresh_fields(self) -> None:
        """Show the fields as they are now."""
        fields = self.draft.fields
        found = listed(fields, search=self._search, only_changed=self._only_changed, folded=self._folded)
        narrowed = bool(self._search) or self._only_changed
        self.table.show_fields(found, self._faults, () if narrowed else tuple(self._folded))
        self.border_subtitle = counted(fields, found)
        self._tell()

    def show_faults(self, faults: Mapping[str, str]) -> None:
        """Say at these fields what is wrong with them, and at no others."""
        self._faults = dict(_at_fields(faults, {field.key for field in self.draft.fields}))
        self.refresh_fields()

    def search(self, words: str) -> None:
        """Show the fields that match."""
        self._search = words
        self.refresh_fields()

    def toggle_changed(self) -> None:
        """Show only what was changed, or all."""
        self._only_changed = not self._only_changed
        self.refresh_fields()

    @on(FormTable.Moved)
    def _tell(self) -> None:
        """Say what the field under the cursor means, and whether what it holds is right."""
        field = self.field
        if field is None:
            lines = [Content.assemble(("No field is left. esc shows all again.", _QUIET))]
        else:
            lines = _about(field, self._faults.get(field.key))
        self._about.update(Content("\n").join(lines), layout=False)

    @on(FormTable.Opened)
    def edit(self) -> None:
        """Edit the field under the cursor; fold or unfold a section, put an absent one in."""
        field = self.field
        if field is None:
            return
        if field.shape is Shape.SECTION and not field.is_section:
            self._set(field, "{}")
        elif field.is_section and field.shape is not Shape.NAMES:
            self._fold(field)
        elif field.shape is Shape.TRUTH:
            self.choose(1)
        elif field.shape is Shape.CHOICE:
            self._choose_from(field)
        else:
            self._begin_edit(field)

    @work
    async def _choose_from(self, field: Field) -> None:
        now = shown(field.value)
        words = dict.fromkeys((*(("null",) if field.nullable else ()), *field.choices))
        menu = MenuScreen(
            field.label, [Choice(word, word, current=word == now) for word in words], told=field.description
        )
        chosen = await cast("PlumblineApp", self.app).push_screen_wait(menu)
        if chosen is not None:
            self._set(field, chosen)

    def choose(self, by: int) -> None:
        """Take the next choice, or the one before; unfold or fold a section."""
        field = self.field
        if field is None:
            return
        if field.is_section:
            (self._folded.discard if by > 0 else self._folded.add)(field.key)
            self.refresh_fields()
            return
        chosen = next_choice(field, by)
        if chosen is not None:
            self._set(field, chosen)

    def turn(self) -> None:
        """Turn yes and no, or fold a section."""
        field = self.field
        if field is not None and field.is_section:
            self._fold(field)
        elif field is not None and field.shape is Shape.TRUTH:
            self.choose(1)

    def take_back(self) -> None:
        """Give the field the value that it began with."""
        field = self.field
        if field is not None:
            self.draft.reset(field)
            self._changed()

    def _set(self, field: Field, text: str) -> None:
        self.draft.set(field, text)
        self._changed()

    def _changed(self) -> None:
        self.refresh_fields()
        self.post_message(self.Changed())

    def _fold(self, field: Field) -> None:
        (self._folded.discard if field.key in self._folded else self._folded.add)(field.key)
        self.refresh_fields()

    def _begin_edit(self, field: Field, *, again: bool = True) -> None:
        place = self.table.value_at()
        if place is None:  # it is not laid out yet
            if again:
                self.call_after_refresh(self._begin_edit, field, again=False)
            return
        x, y, width = place
        self._editing = field, self.draft.remember()
        with self.prevent(Input.Changed):
            self._editor.value = editable(field)
        folder = getattr(self.draft, "folder", None) if field.shape is Shape.PATH else None
        self._editor.suggester = PathSuggester(folder, self._references) if folder is not None else None
        self._editor.styles.offset = (x, y)
        self._editor.styles.width = width
        self._editor.add_class("-shown")
        self._editor.focus()

    @on(Input.Changed, "#editor")
    def _typed(self, event: Input.Changed) -> None:
        if self._editing is not None:
            self.draft.set(self._editing[0], event.value)
            self.post_message(self.Changed())

    @on(Input.Submitted, "#editor")
    def _submitted(self) -> None:
        self.end_edit()

    @on(FormEditor.Left)
    def _left(self, message: FormEditor.Left) -> None:
        self.end_edit()
        self.table.action_move(message.by)

    def end_edit(self, *, keep: bool = True) -> None:
        """Leave the line that is edited. keep: what was typed, else all is as before."""
        if self._editing is None:
            return
        _, take_back = self._editing
        self._editing = None
        self._editor.remove_class("-shown")
        self.table.focus()
        if not keep:
            take_back()
        self._changed()


def _folded_at_first(draft: Draft) -> list[str]:
    """Return the sections that are folded: what is seldom changed, and the stages of a pipeline."""
    sections = [field for field in draft.fields if field.is_section]
    is_pipeline = isinstance(draft, PipelineDraft)
    stages = [field.key for field in sections if is_pipeline and field.depth == 0 and field.key != "--"]
    return [*stages, *(field.key for field in sections if field.key.endswith(_SELDOM))]


def _at_fields(faults: Mapping[str, str], fields: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each fault with the key of its field, or of the nearest one around it that there is."""
    for key, sentence in faults.items():
        around = key
        while around and around not in fields:
            around = around.rpartition(".")[0]
        yield around or key, sentence


def _about(field: Field, fault: str | None) -> list[Content]:
    """Return what a field means, and what is wrong with it."""
    name = field.label if field.shape is Shape.HEADING or field.key.startswith("--") else field.key
    allowed = field.allowed or ", ".join(field.choices)
    lines = [
        Content.assemble(
            (visible(name), "bold"),
            f"  {visible(field.description)}",
            (f": {visible(allowed)}" if allowed else "", _QUIET),
            ("; required" if field.required and not field.is_section else "", _QUIET),
        )
    ]
    if field.is_missing and field.shape is Shape.NAMES and field.example is not None:
        lines.append(Content.assemble(("for example ", _QUIET), visible(shown(field.example))))
    if fault:
        lines.append(Content.assemble((visible(" ".join(fault.split())), "$error")))
    elif field.shape is Shape.SECTION:
        key = "u takes it out again" if field.is_section else f"{key_name('enter')} puts it in"
        lines.append(Content.assemble((key, _QUIET)))
    return lines
