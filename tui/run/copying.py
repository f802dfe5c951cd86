"""What of a run can be copied: a menu of it, and the text of what was chosen onto the clipboard."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import PlumblineError
from engine.telemetry.numbers import exact
from tui.run.panels import Pointed
from tui.screens.menu import Choice, MenuScreen
from tui.text.safe import visible

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment
    from tui.app import PlumblineApp

_SHORT = 60  # characters of a copied text that are told


def copy_choices(experiment: Experiment, runs_dir: Path, database: str | None, pointed: Pointed | None) -> list[Choice]:
    """Return what can be copied of a run. database: what `--db` must say, if anything."""
    identity = experiment.id
    choices = [
        Choice("id", "its id", "y", identity),
        Choice("folder", "its folder on this machine", "p", str(runs_dir / identity)),
        Choice("command", "the command that shows it", "c", command(identity, database)),
        Choice("spec", "its spec", "s", "YAML"),
    ]
    if pointed is not None:
        note = f"{exact(pointed.value)} at step {pointed.step}"
        choices.append(Choice("value", f"{pointed.name} under the crosshair", "v", note))
    return choices


def command(identity: str, database: str | None) -> str:
    """Return the `engine` command that shows a run."""
    return shlex.join(["engine", "show", identity, *(["--db", database] if database else [])])


def text_of(choice: str, choices: Sequence[Choice], store: Store, identity: str, pointed: Pointed | None) -> str:
    """Return the text to copy; reads the database. Raises NotFound after a deletion."""
    from engine.store import experiments

    if choice == "spec":
        return experiments.spec_text(store, identity)
    if choice == "value" and pointed is not None:
        return exact(pointed.value)
    return next(each.note for each in choices if each.id == choice)


async def copy(app: PlumblineApp) -> None:
    """Ask what of the run under the cursor to copy, copy it, and say so."""
    experiment = app.context.experiment
    if experiment is None:
        return
    pointed = getattr(app.screen, "pointed", None)
    choices = copy_choices(experiment, app.store.runs_dir, app.named_database, pointed)
    choice = await app.push_screen_wait(MenuScreen(f"copy of {experiment.id}", choices))
    if choice is None:
        return
    try:
        text = await asyncio.to_thread(text_of, choice, choices, app.store, experiment.id, pointed)
    except PlumblineError as error:
        app.say(str(error), "error")
        return
    app.copy_to_clipboard(text)
    what = visible(text) if len(text) <= _SHORT and "\n" not in text else f"The {choice} of {experiment.id}"
    app.say(f"{what} is on the clipboard.")
