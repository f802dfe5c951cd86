"""`engine watch`: follow experiments until they end; leaving does not stop them."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import click

from engine.cli.output import duration, number, print_json, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import ExitCode
from engine.report.listing.documents import as_document
from engine.telemetry.states import State

if TYPE_CHECKING:
    from rich.progress import TaskID

    from engine.store.database import Store
    from engine.store.experiment import Experiment

POLL_SECONDS = 0.1
DISPATCHER_CHECK_SECONDS = 2.0


@click.command()
@click.argument("references", metavar="EXP…", nargs=-1, required=True)
@global_options
@pass_settings
def watch(settings: Settings, references: tuple[str, ...]) -> int:
    """Progress with loss, reward, KL and time left, until all have ended."""
    from engine.store import pipelines

    store = settings.open_store()
    found = [identity for reference in references for identity in pipelines.meant(store, reference)]
    return watch_until_ended(settings, store, list(dict.fromkeys(found)))


class Reporter(Protocol):
    """Shows the progress of the watched experiments."""

    def update(self, experiments: Sequence[Experiment]) -> None:
        """Show how they stand now."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Silent:
    """Shows nothing: stderr is not a terminal, or nobody wants it."""

    def update(self, experiments: Sequence[Experiment]) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """One line an experiment whenever its state changes, and every few seconds: for logs."""

    def __init__(self, interval_seconds: float = 5.0) -> None:
        self._interval = interval_seconds
        self._said: dict[str, tuple[State, float]] = {}

    def update(self, experiments: Sequence[Experiment]) -> None:
        now = time.monotonic()
        for experiment in experiments:
            state, at = self._said.get(experiment.id, (None, 0.0))
            due = experiment.state == State.RUNNING and now - at >= self._interval
            if state == experiment.state and not due:
                continue
            self._said[experiment.id] = (experiment.state, now)
            click.echo(progress_line(experiment))

    def close(self) -> None:
        pass


class Bars:
    """One progress bar an experiment, on a terminal's stderr."""

    def __init__(self, *, color: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.fields[experiment]}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[metrics]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True, no_color=not color),
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def update(self, experiments: Sequence[Experiment]) -> None:
        for experiment in experiments:
            if experiment.id not in self._tasks:
                self._tasks[experiment.id] = self._progress.add_task("", total=1, experiment="", metrics="")
            self._progress.update(
                self._tasks[experiment.id],
                completed=experiment.step,
                total=experiment.total_steps or 1,
                experiment=f"{experiment.id} {experiment.state}",
                metrics=_metrics_text(experiment),
            )

    def close(self) -> None:
        self._progress.stop()


def _metrics_text(experiment: Experiment) -> str:
    names = [name for name in ("loss", "eval_loss", "score", "eval_score", "kl") if name in experiment.last]
    return "  ".join(f"{name} {number(experiment.last[name])}" for name in names)


def progress_line(experiment: Experiment) -> str:
    """One line of text: id, state, bar, steps, headline metrics."""
    filled = round(20 * (experiment.progress or 0.0))
    bar = "█" * filled + "·" * (20 - filled)
    steps = f"{experiment.step}/{experiment.total_steps or '–'}"
    return f"{experiment.id}  {experiment.state:<9}  {bar}  {steps:>9}  {_metrics_text(experiment)}".rstrip()


def watch_until_ended(
    settings: Settings, store: Store, ids: Sequence[str], reporter: Reporter | None = None, *, called: str | None = None
) -> int:
    """Follow the experiments until all have ended, print how each ended, return the exit code.

    called: what a person names all of them by; None: their ids.
    """
    if reporter is None:
        shown = sys.stderr.isatty() and not settings.quiet and not settings.json
        reporter = Bars(color=settings.color) if shown else Silent()
    try:
        ended = _wait(settings, store, ids, reporter)
    except KeyboardInterrupt:
        reporter.close()
        again = ["engine", "watch", *([called] if called is not None else ids)]
        if settings.db is not None:
            again += ["--db", str(settings.db)]
        click.echo(f"The runs go on. To see them again: {shlex.join(again)}", err=True)
        return ExitCode.INTERRUPTED
    finally:
        reporter.close()
    if settings.json:
        print_json([as_document(experiment) for experiment in ended])
    else:
        click.echo(outcome_table(ended))
    for experiment in ended:
        if experiment.state != State.SUCCEEDED and experiment.reason:
            click.echo(f"{experiment.id} {experiment.state}: {experiment.reason}", err=True)
    return max(outcome_code(experiment) for experiment in ended)


def _wait(settings: Settings, store: Store, ids: Sequence[str], reporter: Reporter) -> list[Experiment]:
    from engine.dispatch.lifecycle import ensure_running
    from engine.store import experiments

    version: int | None = None
    current: list[Experiment] = []
    checked = time.monotonic()
    while True:
        latest = store.data_version()
        if latest != version:
            version = latest
            current = [experiments.get(store, identity) for identity in ids]
            reporter.update(current)
            if all(experiment.state.ended for experiment in current):
                return current
        if time.monotonic() - checked > DISPATCHER_CHECK_SECONDS:
            # A dispatcher that was killed is started again by whoever waits for it.
            ensure_running(settings.database)
            checked = time.monotonic()
        time.sleep(POLL_SECONDS)


def outcome_code(experiment: Experiment) -> int:
    """The exit code that an ended experiment stands for."""
    if experiment.state == State.SUCCEEDED:
        return ExitCode.DONE
    return experiment.exit_code or ExitCode.RUN_FAILED


def outcome_table(ended: Sequence[Experiment]) -> str:
    """How each experiment ended, one row each."""
    rows = []
    for experiment in ended:
        took = experiment.ended_at - experiment.started_at if experiment.ended_at and experiment.started_at else None
        rows.append(
            [
                experiment.id,
                experiment.name,
                experiment.state,
                f"{experiment.step}/{experiment.total_steps or '–'}",
                _metrics_text(experiment) or "–",
                duration(took),
            ]
        )
    return table(["ID", "NAME", "STATE", "STEP", "LAST", "TOOK"], rows, right=(3, 5))
