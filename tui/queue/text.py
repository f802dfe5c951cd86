"""What is known of a run in the queue, and how the nodes stand, in lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from engine.dispatch.waiting import about
from engine.plan.sizes import in_words
from engine.telemetry.numbers import duration
from engine.telemetry.states import State
from tui.canvas.charset import ASCII, current
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.theme import STATE_COLORS, glyph

if TYPE_CHECKING:
    from engine.dispatch.survey import InLine, Machine, OnNodes, Survey
    from engine.store.experiment import Experiment

_LABEL = 9  # cells
_QUIET = "$foreground 60%"
_WIDEST = 16  # slots of a node that are drawn one by one
_OLD = 20.0  # seconds, after which the age of what is known of a node is told


def detail_lines(survey: Survey, experiment: Experiment) -> list[Line]:
    """Return what is known of one run."""
    state = experiment.state
    lines: list[Line] = [
        (2, Content.assemble((f"{glyph(state)} {state.value}", STATE_COLORS[state]))),
        *(_line("name", experiment.name) for _ in range(experiment.name != experiment.id)),
    ]
    running = next((each for each in survey.running if each.experiment.id == experiment.id), None)
    waiting = next((each for each in survey.waiting if each.experiment.id == experiment.id), None)
    if running is not None:
        lines += _running(running, survey.at)
    elif waiting is not None:
        lines += _waiting(waiting, survey)
    elif experiment.reason:
        lines.append(_line("why", experiment.reason))
    later = [each for each in survey.waiting if experiment.id in each.parents]
    if later:
        lines.append(_line("then", ", ".join(each.experiment.id for each in later)))
    return lines


def launch_lines(survey: Survey, launch: str) -> list[Line]:
    """Return how the stages of a pipeline stand."""
    stages = survey.launches.get(launch, ())
    width = max((len(visible(stage.name)) for stage in stages), default=0)
    lines: list[Line] = []
    for stage in stages:
        state = stage.experiment.state
        name, told = f"{visible(stage.name):<{width}}  ", f"{glyph(state)} {state.value}"
        lines.append((width + 2, Content.assemble(name, (told, STATE_COLORS[state]), f"  {stage.experiment.id}")))
    return lines


def _running(run: OnNodes, now: float) -> Iterator[Line]:
    experiment = run.experiment
    total = f" of {experiment.total_steps}" if experiment.total_steps else ""
    yield _line("step", f"{experiment.step}{total}")
    yield _line("where", run.where)
    yield _line("began", f"{duration(now - run.began_at)} ago")
    yield _line("ends", "not known" if run.ends_at is None else f"{about(run.ends_at, now)}")


def _waiting(run: InLine, survey: Survey) -> Iterator[Line]:
    experiment = run.experiment
    yield _line("why", run.why, "$warning")
    if run.needs:
        yield _line("needs", run.needs)
    yield _line("turn", f"{run.place} of {len(survey.waiting)}, priority {experiment.priority}")
    yield _line("waits", f"{duration(survey.at - (experiment.queued_at or experiment.created_at))} already")
    for parent, state in run.parents.items():
        takes = f", makes the {run.takes[parent]}" if parent in run.takes else ""
        yield _line("after", f"{parent}: {state.value}{takes}")
    if experiment.faults:
        yield _line("faults", f"{experiment.faults} since it last got on")


def _line(label: str, value: str, ink: str = "") -> Line:
    return _LABEL, Content.assemble((f"{label:<{_LABEL}}", _QUIET), (visible(value), ink))


def nodes_title(machines: Sequence[Machine]) -> str:
    """Return how many nodes are free."""
    if not machines:
        return "nodes"
    free = sum(each.free == len(each.holders) for each in machines)
    slots, open_ = sum(len(each.holders) for each in machines), sum(each.free for each in machines)
    return f"{free} of {len(machines)} node{'s' if len(machines) != 1 else ''} free, {open_} of {slots} slots"


def nodes_lines(survey: Survey) -> list[Line]:
    """Return one line a node: its slots, and who holds them."""
    width = max((len(visible(each.host)) for each in survey.machines), default=0)
    room = max((len(_held_by(each)) for each in survey.machines), default=0)
    return [_node(each, width, room, survey.at) for each in survey.machines]


def _node(machine: Machine, width: int, room: int, now: float) -> Line:
    signs = "#.x" if current() is ASCII else "■□✕"
    slots: list[tuple[str, str]] = []
    if len(machine.holders) <= _WIDEST:
        for slot, holder in enumerate(machine.holders):
            if slot in machine.foreign:
                slots.append((signs[2], "$warning"))
            else:
                slots.append((signs[0], "$success") if holder else (signs[1], _QUIET))
    else:
        slots.append((f"{machine.free} of {len(machine.holders)} free", ""))
    host = visible(machine.host)
    head = Content.assemble((f"{host:<{width}}  ", "bold"), *slots, "  ")
    words, ink = _standing(machine, room, now)
    return head.cell_length, head + Content.assemble((visible(words), ink))


def _held_by(machine: Machine) -> str:
    return ", ".join(dict.fromkeys(filter(None, machine.holders))) or "free"


def _standing(machine: Machine, room: int, now: float) -> tuple[str, str]:
    words, busy = _held_by(machine), any(machine.holders)
    if machine.problem:
        return f"{glyph(State.FAILED)} {machine.problem}", "$error"
    if machine.drained:
        return f"drained{': nothing new begins' if not busy else f', until its end {words}'}", "$warning"
    if machine.disk_free is not None:
        words = f"{words:<{room}}  disk {in_words(machine.disk_free)}"
    if machine.heard_at is not None and now - machine.heard_at > _OLD:
        words += f"  heard {duration(now - machine.heard_at)} ago"
    return words, "" if busy else _QUIET
