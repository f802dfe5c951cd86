"""The launch form: a recipe, where it runs, a name and overrides; beside it what would be launched, checked live."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import PlumblineError
from tui.intents import Plan, Request, find_files
from tui.plan_text import advice_lines, plan_lines, refusal_lines
from tui.safe_text import visible
from tui.screens.confirm import ConfirmScreen
from tui.widgets.key_bar import KeyBar
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from tui.app import PlumblineApp

_CHECKOUT = Path(__file__).resolve().parents[2]
_PATIENCE = 0.2  # seconds without a key before a typed text is checked


class LaunchScreen(Screen[str | None]):
    """Dismissed with the id of the new experiment, or null."""

    CSS_PATH = "launch.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "launch", "launch", key_display="^j", tooltip="launch what the plan shows; asks first"),
        Binding("tab", "app.focus_next", "next field"),
        Binding("shift+tab", "app.focus_previous", "previous field", show=False),
        Binding("escape", "dismiss(None)", "back"),
    ]
    AUTO_FOCUS = "#recipes"

    def __init__(self) -> None:
        super().__init__()
        self.plan: Plan | None = None
        self._recipes: list[Path] = []
        self._hostfiles: list[Path | None] = [None]
        self._problem = ""
        self._recipe_list = OptionList(id="recipes", markup=False, compact=True)
        self._host_list = OptionList(id="hosts", markup=False, compact=True)
        self._path = Input(placeholder="or the path of a spec", id="path", compact=True)
        self._title = Input(placeholder="name (default: the spec's)", id="name", compact=True)
        self._sets = Input(placeholder="train.steps=200 train.lr=1e-3", id="sets", compact=True)
        self._plan_text = Story(empty="…", id="plan-text")

    @property
    def plumbline(self) -> PlumblineApp:
        """The app, by its own type."""
        return cast("PlumblineApp", self.app)

    def compose(self) -> ComposeResult:
        yield TopLine("New run")
        with Horizontal(id="form"):
            with Vertical(id="fields"):
                with Vertical(id="what", classes="box"):
                    yield self._recipe_list
                    yield self._path
                with Vertical(id="where", classes="box"):
                    yield self._host_list
                with Vertical(id="how", classes="box"):
                    with Horizontal(classes="field"):
                        yield Static("name", classes="label")
                        yield self._title
                    with Horizontal(classes="field"):
                        yield Static("set", classes="label")
                        yield self._sets
            with Vertical(id="plan", classes="box"):
                yield self._plan_text
                yield Button("Launch (^j)", id="go", compact=True, variant="primary")
        yield StatusLine(id="status")
        yield KeyBar()

    def on_mount(self) -> None:
        for name, title in (("what", "recipe"), ("where", "where"), ("how", "changes"), ("plan", "plan")):
            self.query_one(f"#{name}").border_title = title
        roots = list(dict.fromkeys((Path.cwd(), _CHECKOUT)))
        self._recipes = find_files("recipes", ".yaml", roots)
        given = list(self.plumbline.hostfiles)
        self._hostfiles += [*given, *(path for path in find_files("hostfiles", "", roots) if path not in given)]
        self._recipe_list.add_options([Option(visible(_near(path))) for path in self._recipes])
        self._host_list.add_options(
            [Option("this machine, without SSH" if path is None else visible(_near(path))) for path in self._hostfiles]
        )
        self._host_list.highlighted = 1 if given else 0
        if self._recipes:
            self._recipe_list.highlighted = 0
        else:
            self._path.focus()
        self.check()

    @property
    def request(self) -> Request | None:
        """What the fields say; null while no recipe is chosen. Raises ValueError for overrides with an open quote."""
        typed = self._path.value.strip()
        if typed:
            recipe = Path(typed).expanduser()
        elif self._recipe_list.highlighted is not None and self._recipes:
            recipe = self._recipes[self._recipe_list.highlighted]
        else:
            return None
        hostfile = self._hostfiles[self._host_list.highlighted or 0]
        return Request(recipe, hostfile, self._title.value.strip(), tuple(shlex.split(self._sets.value)))

    @on(OptionList.OptionHighlighted)
    def _chosen(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_list is self._recipe_list and self._recipe_list.has_focus:
            self._path.value = ""
        self.check()

    @on(OptionList.OptionSelected)
    def _taken(self) -> None:
        self.focus_next()

    @on(Input.Changed)
    def _typed(self) -> None:
        self.check()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    @work(exclusive=True, group="check")
    async def check(self) -> None:
        """Check what the fields say, and show the plan or what is wrong with it."""
        self.plan = None
        await asyncio.sleep(_PATIENCE if self._path.has_focus or self._sets.has_focus or self._title.has_focus else 0)
        try:
            request = self.request
            if request is None:
                self._problem = "choose a recipe, or type the path of a spec."
                self._plan_text.show(advice_lines("Choose a recipe, or type the path of a spec."))
                return
            plan = await asyncio.to_thread(self.plumbline.intents.plan, request)
        except (PlumblineError, ValueError) as error:
            self._refuse(str(error))
            return
        self.plan, self._problem = plan, ""
        self._plan_text.show(plan_lines(plan, self.plumbline.named_database))

    def _refuse(self, sentence: str) -> None:
        self._problem = sentence
        self._plan_text.show(refusal_lines(sentence))

    @on(Button.Pressed, "#go")
    @work
    async def action_launch(self) -> None:
        """Launch what the plan shows, when that is confirmed."""
        plan, app = self.plan, self.plumbline
        status = self.query_one(StatusLine)
        if plan is None:
            status.say(f"Not launched: {self._problem or 'the plan is being checked.'}", "error")
            return
        nodes, ranks = plan.ranks
        place = (
            "this machine"
            if plan.request.hostfile is None
            else f"{nodes} node{'s' if nodes != 1 else ''} of {_near(plan.request.hostfile)}"
        )
        question = f"Launch {visible(plan.name) or plan.spec.kind} on {visible(place)}?"
        cost = f"It starts as soon as {ranks} slot{'s are' if ranks != 1 else ' is'} free."
        screen = ConfirmScreen(question, verb="Launch", cost=cost, command=plan.request.command(app.named_database))
        if not await app.push_screen_wait(screen):
            return
        try:
            identity = await asyncio.to_thread(app.intents.launch, plan)
        except PlumblineError as error:
            status.say(str(error), "error")
        else:
            self.dismiss(identity)


def _near(path: Path) -> str:
    """Return the path as it is shown: relative to here, or to the home folder with ~."""
    for folder, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_absolute() and path.is_relative_to(folder):
            return f"{sign}{path.relative_to(folder)}"
    return str(path)
