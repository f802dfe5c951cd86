"""Every action of the terminal UI, in one table: it drives the keys, the key bar, the help and the palette."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.telemetry.states import Desired

if TYPE_CHECKING:
    from engine.store.experiments import Experiment


@dataclass(frozen=True, slots=True)
class Context:
    """What an action would act on."""

    experiment: Experiment | None = None  # under the cursor, or shown
    readonly: bool = False
    filtered: bool = False


When = Callable[[Context], str | None]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a person can do.

    `scope` is "everywhere", "run" (each screen that has a `selected` experiment) or the name of a screen; `handler`
    is a Textual action; `when` gives the sentence that says why it cannot be done now, or null; `danger` marks what
    touches the world and asks first, `writes` what only changes the database; `cli` is the `engine` command that does
    the same, with {id} for the experiment.
    """

    id: str
    keys: str
    text: str
    handler: str
    when: When
    scope: str = "everywhere"
    danger: bool = False
    writes: bool = False
    cli: str | None = None
    short: str | None = None  # in the key bar; null: not shown there
    key_name: str | None = None

    @property
    def key_display(self) -> str:
        """The keys as a person reads them."""
        return self.key_name or key_name(self.keys)

    def refusal(self, context: Context) -> str | None:
        """Return why the action cannot be done now, in one sentence; null when it can."""
        if (self.danger or self.writes) and context.readonly:
            return "Read-only: this window changes nothing. Start plumbline without --readonly."
        return self.when(context)

    def twin(self, context: Context, database: str | None) -> str | None:
        """Return the `engine` command that does the same. database: the path if it is not the default one."""
        if self.cli is None:
            return None
        command = self.cli.replace("{id}", context.experiment.id if context.experiment else "EXP")
        return f"engine {command}" + (f" --db {shlex.quote(database)}" if database else "")


_KEY_NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "slash": "/",
    "colon": ":",
    "comma": ",",
    "full_stop": ".",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "enter": "⏎",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pageup": "pgup",
    "pagedown": "pgdn",
}


def key_name(keys: str) -> str:
    """Return keys, separated by commas, as a person reads them."""
    return " ".join(_KEY_NAMES.get(key, key.replace("ctrl+", "^")) for key in keys.split(","))


def _always(context: Context) -> str | None:
    return None


def _on_experiment(context: Context) -> str | None:
    return None if context.experiment else "There is no run under the cursor. n starts one."


def _stoppable(context: Context) -> str | None:
    experiment = context.experiment
    if experiment is None:
        return _on_experiment(context)
    if experiment.state.ended:
        return f"{experiment.id} has ended already: it {_ENDED_AS[experiment.state.value]}."
    return None


def _interruptible(context: Context) -> str | None:
    experiment = context.experiment
    if experiment is not None and not experiment.state.ended and experiment.desired is not Desired.RUN:
        return f"{experiment.id} is being stopped already; K stops it at once."
    return _stoppable(context)


def _resumable(context: Context) -> str | None:
    experiment = context.experiment
    if experiment is not None and not experiment.state.ended:
        return f"{experiment.id} is {experiment.state.value}; only a run that has ended can be resumed."
    return _on_experiment(context)


def _archivable(context: Context) -> str | None:
    experiment = context.experiment
    if experiment is not None and not experiment.state.ended:
        return f"{experiment.id} is {experiment.state.value}; stop it before it is archived."
    return _on_experiment(context)


_ENDED_AS = {"succeeded": "succeeded", "failed": "failed", "stopped": "was stopped", "lost": "was lost"}

ACTIONS: tuple[Action, ...] = (
    Action(
        "open",
        "enter",
        "open the run: live curves, log, samples",
        "screen.open",
        _on_experiment,
        "runs",
        cli="show {id}",
        short="open",
    ),
    Action(
        "filter",
        "slash",
        "filter by id, name, kind, state or tag",
        "screen.filter",
        _always,
        "runs",
        cli="ls --filter EXPR",
        short="filter",
    ),
    Action(
        "new",
        "n",
        "start a new run from a recipe",
        "app.new",
        _always,
        "runs",
        danger=True,
        cli="launch FILE --hostfile H",
        short="new",
    ),
    Action(
        "interrupt",
        "I",
        "stop at the end of this step, with a checkpoint",
        "app.stop(False)",
        _interruptible,
        scope="run",
        danger=True,
        cli="stop {id}",
        short="stop",
    ),
    Action(
        "kill",
        "K",
        "stop now; steps since the last checkpoint are lost",
        "app.stop(True)",
        _stoppable,
        scope="run",
        danger=True,
        cli="stop {id} --now",
        short="kill",
    ),
    Action(
        "resume",
        "R",
        "resume from the last good checkpoint",
        "app.resume",
        _resumable,
        scope="run",
        danger=True,
        cli="resume {id}",
        short="resume",
    ),
    Action(
        "archive",
        "a",
        "archive the run, or bring it back",
        "app.archive",
        _archivable,
        "runs",
        writes=True,
        cli="archive {id}",
        short="archive",
    ),
    Action("pane", "tab", "the other pane: the list, or its details", "screen.pane", _always, "runs", short="pane"),
    Action("archived", "A", "show archived runs too, or hide them", "screen.archived", _always, "runs", cli="ls --all"),
    Action("unfilter", "escape", "show all again, and go back to the list", "screen.unfilter", _always, "runs"),
    Action("copy", "y", "copy the id to the clipboard", "app.copy_id", _on_experiment, "runs"),
    Action("theme", "ctrl+t", "dark or light colours", "app.switch_theme", _always),
    Action(
        "palette",
        "colon,ctrl+p",
        "all commands, each with its engine twin",
        "app.command_palette",
        _always,
        short="commands",
        key_name=": ^p",
    ),
    Action("help", "question_mark", "this help", "app.help", _always, short="help"),
    Action("quit", "q", "quit; what runs goes on", "app.quit", _always, short="quit"),
)
_BY_ID = {action.id: action for action in ACTIONS}
_RANKS = {action.id: place for place, action in enumerate(ACTIONS)}


def find(identity: str | None) -> Action | None:
    """Return the action of that id."""
    return _BY_ID.get(identity or "")


def rank(identity: str | None) -> int:
    """Return the place of an action in the table; what does not stand there comes first."""
    return _RANKS.get(identity or "", -1)


def of_scope(*scopes: str) -> Iterator[Action]:
    """Yield the actions of these scopes, in the table's order."""
    return (entry for entry in ACTIONS if entry.scope in scopes)


def bindings(*scopes: str) -> list[Binding]:
    """Return the key bindings of these scopes; each goes through the app's `act`, which asks `refusal` first."""
    return [
        Binding(
            entry.keys,
            f"app.act('{entry.id}')",
            entry.short or entry.text,
            show=entry.short is not None,
            key_display=entry.key_display,
            id=entry.id,
            tooltip=entry.text,
        )
        for entry in of_scope(*scopes)
    ]
