"""The rows of the queue: what runs, what waits and why, and the stages of pipelines below their launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engine.telemetry.numbers import duration
from engine.telemetry.states import State
from tui.text.safe import visible
from tui.theme import glyph
from tui.widgets.row_table import Cell, Column, Row

if TYPE_CHECKING:
    from engine.dispatch.survey import InLine, OnNodes, Stage, Survey
    from engine.store.experiment import Experiment

COLUMNS = (
    Column("turn", "turn", 6, right=True, needed=False),
    Column("id", "id", 0),
    Column("name", "name", 3, least=14),
    Column("state", "state", 2),
    Column("done", "done", 5, right=True, needed=False),
    Column("left", "left", 4, right=True, needed=False),
    Column("priority", "prio", 7, right=True, needed=False),
    Column("why", "where, or why not yet", 1, least=34),
)
_NOTHING = Cell("")


def rows(survey: Survey) -> dict[str, Row]:
    """Return the rows by key: the id of an experiment, or the name of a pipeline's launch."""
    running = {each.experiment.id: each for each in survey.running}
    waiting = {each.experiment.id: each for each in survey.waiting}
    staged = {stage.experiment.id: launch for launch, stages in survey.launches.items() for stage in stages}
    # What has begun comes first, then what waits in the order of the turns; a launch stands where its first stage does.
    order: dict[str, tuple[int, float]] = {}
    for identity, each in running.items():
        _first(order, staged.get(identity, identity), (0, each.began_at))
    for identity, other in waiting.items():
        _first(order, staged.get(identity, identity), (1, other.place))
    found: dict[str, Row] = {}
    for key in sorted(order, key=lambda each: order[each]):
        if key in survey.launches:
            found[key] = _launch(key, survey.launches[key])
            for stage in survey.launches[key]:
                found[stage.experiment.id] = _stage(stage, running, waiting, survey.at)
        elif key in running:
            found[key] = _on_nodes(running[key], survey.at)
        else:
            found[key] = _in_line(waiting[key])
    return found


def _first(order: dict[str, tuple[int, float]], key: str, place: tuple[int, float]) -> None:
    order[key] = min(place, order.get(key, place))


def _stage(stage: Stage, running: Mapping[str, OnNodes], waiting: Mapping[str, InLine], now: float) -> Row:
    experiment = stage.experiment
    if experiment.id in running:
        row = _on_nodes(running[experiment.id], now)
    elif experiment.id in waiting:
        row = _in_line(waiting[experiment.id])
    else:
        why = Cell(visible(experiment.reason or ""), "error" if experiment.state is State.FAILED else "quiet")
        row = _row(experiment, why=why)
    return {**row, "id": Cell(f"  {experiment.id}", row["id"].ink), "name": Cell(visible(stage.name))}


def _launch(name: str, stages: Sequence[Stage]) -> Row:
    done = sum(stage.experiment.state is State.SUCCEEDED for stage in stages)
    bad = sum(stage.experiment.state.ended for stage in stages) - done
    told = f"{done} of {len(stages)} stages done" + (f", {bad} ended without success" if bad else "")
    row = {column.key: _NOTHING for column in COLUMNS}
    return row | {"id": Cell(visible(name), "mark"), "name": Cell("pipeline", "quiet"), "why": Cell(told, "quiet")}


def _on_nodes(run: OnNodes, now: float) -> Row:
    left = "" if run.ends_at is None else duration(run.ends_at - now)
    return _row(run.experiment, why=Cell(f"on {visible(run.where)}", "text"), left=left)


def _in_line(run: InLine) -> Row:
    return _row(run.experiment, why=Cell(visible(run.why), "text"), turn=str(run.place))


def _row(experiment: Experiment, *, why: Cell, turn: str = "", left: str = "") -> Row:
    state, progress = experiment.state, experiment.progress
    done = "" if progress is None or state is State.QUEUED else f"{int(100 * progress)}%"
    return {
        "turn": Cell(turn, "quiet"),
        "id": Cell(experiment.id, "quiet" if state.ended else "strong"),
        "name": Cell(visible(experiment.name)),
        "state": Cell(f"{glyph(state)} {state.value}", f"state-{state.value}"),
        "done": Cell(done, "quiet"),
        "left": Cell(left, "text"),
        "priority": Cell(f"{experiment.priority:+d}" if experiment.priority else "", "mark"),
        "why": why,
    }
