"""What an action of the terminal UI is: its keys, its words, its `engine` twin, and why it cannot be done now."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.telemetry.states import ENDED_AS, Desired
from tui.canvas.charset import ASCII, current

if TYPE_CHECKING:
    from engine.store.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Context:
    """What an action would act on."""

    experiment: Experiment | None = None  # under the cursor, or shown
    readonly: bool = False
    marked: tuple[Experiment, ...] = ()  # those that actions on several act on, instead of the one under the cursor


When = Callable[[Context], str | None]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a person can do.

    `scope` is "everywhere", "run" (each screen that has a `selected` experiment) or the name of a screen; `handler`
    is a Textual action; `when` gives the sentence that says why it cannot be done now, or null; `danger` marks what
    touches the world and asks first, `writes` what only changes the database; `cli` is the `engine` command that does
    the same, with {id} for the experiment, or {ids} for all that are marked.
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
    several: bool = False  # acts on all marked experiments, when some are

    @property
    def key_display(self) -> str:
        """The keys as a person reads them."""
        return key_name(self.keys)

    def refusal(self, context: Context) -> str | None:
        """Return why the action cannot be done now, in one sentence; null when it can."""
        if (self.danger or self.writes) and context.readonly:
            return "Read-only: this window changes nothing. Start plumbline without --readonly."
        if not (context.marked and self.several):
            return self.when(context)
        refusals = [self.when(Context(one)) for one in context.marked]
        if any(refusal is None for refusal in refusals):
            return None
        return refusals[0] if len(refusals) == 1 else f"None of the {len(refusals)} marked runs: {refusals[0]}"

    def twin(self, context: Context, database: str | None) -> str | None:
        """Return the `engine` command that does the same. database: the path if it is not the default one."""
        if self.cli is None:
            return None
        one = context.experiment.id if context.experiment else "EXP"
        several = " ".join(each.id for each in context.marked if self.when(Context(each)) is None)
        command = self.cli.replace("{ids}", several or one).replace("{id}", one)
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
    names = _KEY_NAMES if current() is not ASCII else {k: name for k, name in _KEY_NAMES.items() if name.isascii()}
    return " ".join(names.get(key, key.replace("ctrl+", "^")) for key in keys.split(","))


def always(context: Context) -> str | None:
    """Refuse never."""
    return None


def on_experiment(context: Context) -> str | None:
    """Refuse where there is no experiment."""
    return None if context.experiment else "There is no run under the cursor. n starts one."


def stoppable(context: Context) -> str | None:
    """Refuse what has ended."""
    experiment = context.experiment
    if experiment is None:
        return on_experiment(context)
    if experiment.state.ended:
        return f"{experiment.id} has ended already: it {ENDED_AS[experiment.state]}."
    return None


def interruptible(context: Context) -> str | None:
    """Refuse what has ended or is being stopped."""
    experiment = context.experiment
    if experiment is not None and not experiment.state.ended and experiment.desired is not Desired.RUN:
        return f"{experiment.id} is being stopped already; K stops it at once."
    return stoppable(context)


def resumable(context: Context) -> str | None:
    """Refuse what has not ended."""
    experiment = context.experiment
    if experiment is not None and not experiment.state.ended:
        return f"{experiment.id} is {experiment.state.value}; only a run that has ended can be resumed."
    return on_experiment(context)


def archivable(context: Context) -> str | None:
    """Refuse what has not ended."""
    experiment = context.experiment
    if experiment is not None and not experiment.state.ended:
        return f"{experiment.id} is {experiment.state.value}; stop it before it is archived."
    return on_experiment(context)
