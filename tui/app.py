"""The application: it owns the database's watcher, the screens and the dispatch of actions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import BindingType
from textual.events import Resize
from textual.filter import LineFilter, Monochrome, NoColor
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.screen import Screen

from engine.errors import PlumblineError
from tui import theme
from tui.actions import table
from tui.actions.action import Context
from tui.acyclic_strips import keep_no_strip_of_itself
from tui.canvas.charset import ASCII, current
from tui.collecting import collect_when_quiet
from tui.data import DispatcherSeen, Follows, StoreChanged, StoreFailed, StoreOpened, StoreWatcher
from tui.going import Going
from tui.intents import Intents
from tui.leaving import farewell, when_left
from tui.marks import Marks
from tui.notices.telling import Teller, WebhookFailed
from tui.notices.watching import Noticed
from tui.notices.wishes import Wishes
from tui.plain_output import AsciiOnly
from tui.screens.runs import RunsScreen
from tui.screens.small import SMALLEST, TooSmallScreen
from tui.text.safe import visible
from tui.thrifty_app import ThriftyApp
from tui.warming import load_soon
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from textual.command import Provider

    from engine.store.database import Store


_ASCII = (AsciiOnly(),)


class FirstResolved(Message):
    """What the command line names was looked for. found: the id of the experiment, or why there is none."""

    def __init__(self, found: str | PlumblineError) -> None:
        super().__init__()
        self.found = found


def _commands() -> type[Provider]:
    from tui.palette import ActionCommands

    return ActionCommands


class PlumblineApp(ThriftyApp):
    """A view over one database, plus intents. Leaving it changes nothing that runs."""

    TITLE = "plumbline"
    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["app.tcss", "screens/runs.tcss"]
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_commands}
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("run", "everywhere"))
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (120, "-roomy"), (140, "-wider")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        database: Path,
        *,
        hostfiles: Sequence[Path] = (),
        experiment: str | None = None,
        readonly: bool = False,
        debug: bool = False,
        intents: Intents | None = None,
        wishes: Wishes | None = None,
    ) -> None:
        """experiment: id, prefix or name to open at once. intents: what acts on the world, by default the real one.

        wishes: what is worth a notice, by default what failed or is lost.
        """
        super().__init__()
        keep_no_strip_of_itself()
        self.register_theme(theme.DARK)
        self.register_theme(theme.LIGHT)
        self.theme = theme.DARK.name
        self.database = database
        self.hostfiles = tuple(hostfiles)
        self.readonly = readonly
        self.debug_faults = debug
        self.intents = intents or Intents(database)
        self.dispatcher_pid: int | None = None
        self.marks = Marks()
        self._store: Store | None = None
        self._first = experiment
        self._runs = RunsScreen()
        self._going = Going(self, self._runs)
        self._watcher = StoreWatcher(self, database)
        self._teller = Teller(self, wishes or Wishes())

    @property
    def store(self) -> Store:
        """The open database. Raises RuntimeError before `StoreOpened`."""
        if self._store is None:
            raise RuntimeError("the database is not open yet")
        return self._store

    @property
    def store_is_open(self) -> bool:
        """Whether there is a database to read."""
        return self._store is not None

    @property
    def named_database(self) -> str | None:
        """What `--db` must say to mean this database; null when it is the default one."""
        default = Path(os.environ.get("ENGINE_DB") or "experiments.db").expanduser().absolute()
        return None if self.database == default else str(self.database)

    def get_css_variables(self) -> dict[str, str]:
        """Return the theme's variables; without colours the cursor stands out otherwise."""
        return super().get_css_variables() | (theme.COLORLESS_STYLES if self.no_color else {})

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what every line passes on its way to the terminal: NO_COLOR means none, not grey."""
        filters = [NoColor() if isinstance(one, Monochrome) else one for one in super().get_line_filters()]
        return [*filters, *_ASCII] if current() is ASCII else filters

    def get_default_screen(self) -> Screen[Any]:
        """Return the home screen."""
        return self._runs

    @property
    def context(self) -> Context:
        """What an action would act on now."""
        return self.context_of(self.screen)

    def context_of(self, screen: Screen[Any]) -> Context:
        """Return what an action of this screen would act on."""
        return Context(getattr(screen, "selected", None), self.readonly, getattr(screen, "marked", ()))

    def on_mount(self) -> None:
        self.call_after_refresh(self._watcher.start)
        if not self.is_headless:
            collect_when_quiet(self)
            load_soon(self)

    def on_unmount(self) -> None:
        self._teller.stop()
        self._watcher.stop()

    @on(Resize)
    def _resized(self, event: Resize) -> None:
        small = event.size.width < SMALLEST[0] or event.size.height < SMALLEST[1]
        if small and not isinstance(self.screen, TooSmallScreen):
            self.push_screen(TooSmallScreen())
        elif not small and isinstance(self.screen, TooSmallScreen):
            self.pop_screen()

    @on(StoreOpened)
    def _store_opened(self, message: StoreOpened) -> None:
        self._store = message.store
        self._teller.follow(message.store)
        self._follow()
        if self._first is not None:
            self._open_first(self._first)

    @on(StoreChanged)
    def _store_changed(self) -> None:
        self._teller.wake()
        self._follow()

    @on(Noticed)
    def _noticed(self, message: Noticed) -> None:
        for notice in self._teller.tell(message.notices):
            self.say(notice.sentence, "information" if notice.event == "succeeded" else "warning")

    @on(WebhookFailed)
    def _webhook_failed(self, message: WebhookFailed) -> None:
        self.say(message.sentence, "warning")

    def _follow(self) -> None:
        """Let what is shown read again, also below a question: what it tells must not grow old meanwhile."""
        for shown in reversed(self.screen_stack):  # empty: the program ends
            if isinstance(shown, Follows):
                shown.reload()
            if not shown.is_modal:
                break

    @on(StoreFailed)
    def _store_failed(self, message: StoreFailed) -> None:
        if self._store is None:
            self._leave(message.error)
        else:
            self.say(str(message.error), "error")

    @on(DispatcherSeen)
    def _dispatcher_seen(self, message: DispatcherSeen) -> None:
        self.dispatcher_pid = message.pid

    def say(self, sentence: str, severity: SeverityLevel = "information") -> None:
        """Show one sentence: in the status line of the screen, else as a toast."""
        if not self.screen_stack:  # the program ends
            return
        status = next(iter(self.screen.query(StatusLine)), None)
        if status is not None:
            status.say(sentence, severity)
        else:
            super().notify(sentence, severity=severity, markup=False)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show one sentence; never as markup."""
        self.say(message, severity)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys of a run on screens that show none."""
        entry = table.find(str(parameters[0])) if action == "act" and parameters else None
        below = next((screen for screen in reversed(self.screen_stack) if not screen.is_modal), None)
        return entry is None or entry.scope != "run" or hasattr(below, "selected")

    async def action_act(self, identity: str) -> None:
        """Do an action of the table, or say why it cannot be done."""
        entry = table.find(identity)
        if entry is None:
            return
        refusal = entry.refusal(self.context)
        if refusal is not None:
            self.say(refusal, "warning")
        else:
            await self.run_action(entry.handler, default_namespace=self.screen)

    def open_run(self, identity: str) -> None:
        """Show one experiment; the one that was shown last as it was left."""
        self._going.open_run(identity)

    def action_go(self, identity: str) -> None:
        """Go to one of the places; each is as it was left. A form that was changed asks first."""
        when_left(self, partial(self._going.go, identity))

    def neighbour(self, identity: str, direction: int) -> str | None:
        """Return the run after (1) or before (-1) this one in the list, as it is filtered; null at its end."""
        return self._runs.neighbour(identity, direction)

    @work(thread=True)
    def _open_first(self, reference: str) -> None:
        from engine.store import experiments

        try:
            identity = experiments.resolve(self.store, reference)
        except PlumblineError as error:
            self.post_message(FirstResolved(error))
        else:
            self.post_message(FirstResolved(identity))

    @on(FirstResolved)
    def _first_resolved(self, message: FirstResolved) -> None:
        if isinstance(message.found, PlumblineError):
            self._leave(message.found)
        else:
            self.open_run(message.found)
            self._runs.want(message.found)

    def _leave(self, error: PlumblineError) -> None:
        self.exit(return_code=error.exit_code, message=f"error: {error}")

    @work
    async def action_stop(self, now: bool) -> None:
        """Stop a run, or all that are marked, when that is confirmed."""
        from tui.stopping import stop

        await stop(self, now=now)

    @work
    async def action_resume(self) -> None:
        """Begin a new attempt, when that is confirmed."""
        from tui.stopping import resume

        await resume(self)

    @work
    async def action_new(self) -> None:
        """Choose a recipe and a hostfile, and launch."""
        from tui.screens.recipes import RecipesScreen

        self._queued(await self.push_screen_wait(RecipesScreen()))

    @work
    async def action_clone(self) -> None:
        """Launch a run like the one under the cursor, with changes."""
        from tui.screens.recipes import clone_screen

        experiment = self.context.experiment
        if experiment is None:
            return
        try:
            screen = await asyncio.to_thread(clone_screen, self.store, experiment.id, self.hostfiles)
        except PlumblineError as error:
            self.say(str(error), "error")
        else:
            self._queued(await self.push_screen_wait(screen))

    def _queued(self, ids: list[str] | None) -> None:
        """Say what was queued, and put the cursor on it."""
        if ids:
            self._runs.want(ids[0])
            self.say(f"{ids[0]} is queued." if len(ids) == 1 else f"{len(ids)} runs are queued, {ids[0]} first.")

    def action_help(self) -> None:
        """Show what the keys of this screen do."""
        from tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    @work
    async def action_jump(self) -> None:
        """Put a letter on every pane of the screen; a letter moves the focus there."""
        from tui.screens.jump import JumpScreen, targets

        screen = self.screen
        found = targets(screen)
        chosen = await self.push_screen_wait(JumpScreen(found)) if found else None
        if chosen is not None:
            screen.set_focus(chosen)
        elif not found:
            self.say("There is no pane here that could have the focus.", "warning")

    @work
    async def action_copy(self) -> None:
        """Ask what of the run to copy, and put it on the clipboard."""
        from tui.run.copying import copy

        await copy(self)

    def action_switch_theme(self) -> None:
        """Dark to light, and back."""
        self.theme = theme.LIGHT.name if self.theme == theme.DARK.name else theme.DARK.name

    async def action_quit(self) -> None:
        """Leave; say what goes on. A form that was changed asks first."""
        when_left(self, self._quit)

    @work
    async def _quit(self) -> None:
        self.exit(message=await farewell(self))

    def _fatal_error(self) -> None:
        """Say in one sentence that there is a fault in this program; the traceback is for --debug."""
        if self.debug_faults or self._exception is None:
            super()._fatal_error()
            return
        fault = f"{type(self._exception).__name__}: {visible(str(self._exception))}".rstrip(".")
        self._exit_renderables.append(
            Text(f"error: plumbline has a fault, {fault}. Run it again with --debug; what runs goes on.")
        )
        self._close_messages_no_wait()
