"""The choice of a recipe, before the launch form: what there is, and what each says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from engine.errors import PlumblineError
from tui.actions import table
from tui.actions.action import key_name
from tui.form.recipes import Recipe, empty_specs, find_hostfiles, find_recipes, paragraphs
from tui.screens.whole import WholeScreen
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.widgets.form_editor import PathSuggester
from tui.widgets.key_bar import KeyBar
from tui.widgets.row_table import Cell, Column, Row, RowTable
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.store.database import Store
    from tui.app import PlumblineApp
    from tui.screens.launch import LaunchScreen

_COLUMNS = (
    Column("recipe", "recipe", 0),
    Column("kind", "kind", 1),
    Column("note", "", 2, least=30),
)
_QUIET = "$foreground 60%"


class RecipesScreen(WholeScreen[list[str] | None]):
    """Dismissed with the ids of what was queued, or null."""

    CSS_PATH = "recipes.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("recipes"))
    AUTO_FOCUS = "#recipes"

    class Found(Message):
        """The recipes were read, in a thread."""

        def __init__(self, recipes: list[Recipe], hostfiles: list[Path | None], references: tuple[str, ...]) -> None:
            super().__init__()
            self.recipes, self.hostfiles, self.references = recipes, hostfiles, references

    def __init__(self) -> None:
        super().__init__()
        self._recipes: dict[str, Recipe] = {}
        self._hostfiles: list[Path | None] = [None]
        self._references: tuple[str, ...] = ()
        self._table = RowTable(_COLUMNS, id="recipes")
        self._path = Input(
            placeholder="the path of a spec or a pipeline", id="path", compact=True,
            suggester=PathSuggester(Path.cwd(), ()),
        )  # fmt: skip
        self._list_pane = Vertical(self._table, id="list")
        self._about = Story(empty="", id="about")
        self.status = StatusLine(id="status")

    @property
    def plumbline(self) -> PlumblineApp:
        """The app, by its own type."""
        return cast("PlumblineApp", self.app)

    def compose(self) -> ComposeResult:
        yield TopLine("New run")
        with Horizontal(id="path-line"):
            yield Static("path: ", id="path-sign", markup=False)
            yield self._path
        with Horizontal(id="panes"):
            yield self._list_pane
            yield self._about
        yield self.status
        yield KeyBar()

    def on_mount(self) -> None:
        self._list_pane.border_title = "recipes"
        self._about.border_title = "what it is"
        self.status.facts(Content("reading the recipes…"))
        self._read(list(self.plumbline.hostfiles))

    @work(thread=True)
    def _read(self, given: list[Path]) -> None:
        from tui.form.references import outputs

        known = outputs(self.plumbline.store) if self.plumbline.store_is_open else ()
        self.post_message(self.Found(find_recipes(), find_hostfiles(given), known))

    @on(Found)
    def _show(self, message: Found) -> None:
        self._recipes = {each.title: each for each in (*message.recipes, *empty_specs())}
        self._hostfiles, self._references = message.hostfiles, message.references
        self._table.show({key: _row(each) for key, each in self._recipes.items()})
        count = len(message.recipes)
        self.status.facts(Content(f"{count} recipe{'s' if count != 1 else ''}; they are looked for below recipes/"))
        self._tell()

    @on(RowTable.Moved)
    def _tell(self) -> None:
        recipe = self._recipes.get(self._table.selected or "")
        self._about.show([] if recipe is None else _about(recipe))
        self._about.scroll_home(animate=False)

    @on(RowTable.Opened)
    def action_take(self) -> None:
        """Open the form with the recipe under the cursor."""
        recipe = self._recipes.get(self._table.selected or "")
        if recipe is not None:
            self._open(recipe.path or recipe.kind)

    def action_path(self) -> None:
        """Type the path of a recipe."""
        self.add_class("-typing")
        self._path.focus()

    @on(Input.Submitted, "#path")
    def _typed(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._open(Path(event.value.strip()).expanduser())

    @work
    async def _open(self, source: Path | str) -> None:
        """Open the form of a recipe, or of an empty spec. source: the file, or the kind."""
        from tui.form.draft import of_kind, of_recipe
        from tui.screens.launch import LaunchScreen

        try:
            hosts = self._hostfiles
            draft = of_recipe(source, hosts) if isinstance(source, Path) else of_kind(source, hosts)
        except PlumblineError as error:
            self.status.say(str(error), "error")
            return
        ids = await self.plumbline.push_screen_wait(LaunchScreen(draft, self._references))
        if ids:
            self.dismiss(ids)

    def action_leave(self) -> None:
        """Leave the path, then the screen."""
        if self.has_class("-typing"):
            self.remove_class("-typing")
            self._path.value = ""
            self._table.focus()
        else:
            self.dismiss(None)


def clone_screen(store: Store, identity: str, given: Sequence[Path]) -> LaunchScreen:
    """Return the form that begins as an experiment did; for threads. Raises PlumblineError."""
    from engine.dispatch.cloning import clone_of
    from tui.form.draft import of_clone
    from tui.form.references import outputs
    from tui.screens.launch import LaunchScreen

    return LaunchScreen(of_clone(clone_of(store, identity), find_hostfiles(given)), outputs(store))


def _row(recipe: Recipe) -> Row:
    ink = "error" if recipe.problem else "quiet"
    return {
        "recipe": Cell(visible(recipe.title), "strong"),
        "kind": Cell(visible(recipe.kind) or "?", ink),
        "note": Cell(visible(recipe.problem or recipe.note), ink),
    }


def _about(recipe: Recipe) -> list[Line]:
    lines: list[Line] = [(0, Content.assemble((visible(recipe.title), "bold $accent")))]
    if recipe.problem:
        return [*lines, (0, Content.assemble((visible(recipe.problem), "$error")))]
    if recipe.note:
        lines += [(0, Content.assemble((visible(recipe.note), "bold"))), (0, Content())]
    for line in paragraphs(recipe.head):
        hang = len(line) - len(line.lstrip())
        lines.append((hang, Content.assemble((visible(line), "" if hang < 2 else "$accent"))))
    return [*lines, (0, Content()), (0, Content.assemble((f"{key_name('enter')} opens the form.", _QUIET)))]
