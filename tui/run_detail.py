"""What the detail pane tells of one experiment: read in a thread, then written as text."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content

from engine.telemetry.metrics import unit_of
from engine.telemetry.numbers import duration, short
from engine.telemetry.states import Desired, State
from tui.safe_text import visible
from tui.theme import STATE_COLORS, glyph
from tui.wrapping import Line, wrapped

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.events import Event
    from engine.store.experiments import Experiment
    from engine.store.facts import Artifact
    from engine.store.inputs import Taken

_LABEL = 10  # cells
_MOST_EVENTS = 8
_MOST_DIFFERENCES = 12
_MOST_METRICS = 16
_NAME, _VALUE = 18, 7  # cells of a metric
_ONE_LINE = 32  # cells that every pane has
_QUIET, _HEAD = "$foreground 60%", "bold $foreground 75%"
_SHORT_UNITS = {"tokens/s": "tok/s", "1": "", "samples/s": "smp/s", "nats/sequence": "nats", "nats/token": "nats"}
_LEVELS = {"info": "", "warning": "$warning", "error": "$error"}


@dataclass(frozen=True, slots=True)
class Detail:
    """One experiment, whole."""

    experiment: Experiment
    differences: Mapping[str, tuple[object, object]]  # dotted key: of the parent, of this one
    events: Sequence[Event]  # newest last
    artifacts: Sequence[Artifact]
    inputs: Sequence[Taken]  # what it takes from others
    users: Sequence[str]  # ids of those that take from it
    seconds_per_step: float | None


class DetailReader:
    """Reads an experiment, compares its spec with its parent's once, and is for one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By experiment: the two texts that were compared, and what came of it.
        self._differences: dict[str, tuple[tuple[str, str], Mapping[str, tuple[object, object]]]] = {}

    def read(self, identity: str) -> Detail:
        """Return what is known now. Raises NotFound after a deletion."""
        from engine.store import events, experiments, facts
        from engine.store import inputs as lineage

        store = self._store
        experiment = experiments.get(store, identity)
        return Detail(
            experiment=experiment,
            differences=self._compare(experiment),
            events=events.list_events(store, identity, limit=_MOST_EVENTS, newest=True),
            artifacts=facts.artifacts(store, identity),
            inputs=lineage.inputs_of(store, identity),
            users=lineage.users_of(store, identity),
            seconds_per_step=experiment.last.get("seconds_per_step"),
        )

    def _compare(self, experiment: Experiment) -> Mapping[str, tuple[object, object]]:
        from engine.spec.canonical import diff
        from engine.store import experiments

        parent = experiment.parent_id
        if parent is None:
            return {}
        texts = experiments.spec_text(self._store, parent), experiments.spec_text(self._store, experiment.id)
        known = self._differences.get(experiment.id)
        if known is None or known[0] != texts:
            before, after = (experiments.get_spec(self._store, identity) for identity in (parent, experiment.id))
            known = self._differences[experiment.id] = (texts, diff(before, after))
        return known[1]


def detail_text(detail: Detail, now: float, width: int) -> Content:
    """Return the text of the pane. now: seconds since the epoch. width: cells of a line."""
    lines: list[Line] = []
    for block in _blocks(detail, now):
        lines += [*block, (0, Content())]
    return wrapped(lines[:-1], width)


def _blocks(detail: Detail, now: float) -> Iterator[list[Line]]:
    experiment = detail.experiment
    yield list(_state(experiment))
    yield list(_progress(detail, now))
    if detail.inputs or detail.users:
        yield list(_lineage(detail))
    if experiment.last:
        yield [_head("last metrics"), *_metrics(experiment)]
    if experiment.parent_id:
        yield [_head(f"differs from {experiment.parent_id}"), *_differences(detail.differences)]
    if detail.artifacts:
        yield [_head("artifacts"), *(_artifact(artifact) for artifact in detail.artifacts)]
    if detail.events:
        yield [_head("last events"), *(_event(event) for event in reversed(detail.events))]


def _head(text: str) -> Line:
    return 0, Content.assemble((text, _HEAD))


def _pair(label: str, value: str, style: str = "") -> Line:
    return _LABEL, Content.assemble((f"{label:<{_LABEL}}", _QUIET), (visible(value), style))


def _state(experiment: Experiment) -> Iterator[Line]:
    state = experiment.state
    sign = glyph(state)
    wanted = {Desired.STOP: ", stopping at the end of the step", Desired.STOP_NOW: ", stopping now"}
    suffix = "" if state.ended else wanted.get(experiment.desired, "")
    archived = "  archived" if experiment.archived_at else ""
    yield 0, Content.assemble((f"{sign} {state.value}{suffix}", f"bold {STATE_COLORS[state]}"), (archived, _QUIET))
    if experiment.reason:
        style = "$error" if state in (State.FAILED, State.LOST) else "$warning"
        yield 0, Content.assemble((visible(experiment.reason.strip()), style))


def _progress(detail: Detail, now: float) -> Iterator[Line]:
    experiment = detail.experiment
    if experiment.name != experiment.id:
        yield _pair("name", experiment.name)
    where = experiment.hostfile or "this machine"
    nodes = f"{experiment.nodes} node{'s' if experiment.nodes != 1 else ''} · " if experiment.nodes else ""
    yield _pair("where", nodes + where)
    total = experiment.total_steps
    if total:
        share = f" ({int(100 * experiment.progress)}%)" if experiment.progress is not None else ""
        yield _pair("step", f"{experiment.step} of {total}{share}")
    if experiment.started_at is not None:
        yield _pair("started", _clock(experiment.started_at, now))
        yield _pair("duration", duration((experiment.ended_at or now) - experiment.started_at))
    else:
        yield _pair("created", _clock(experiment.created_at, now))
    if experiment.state is State.RUNNING and total and detail.seconds_per_step:
        yield _pair("ETA", duration((total - experiment.step) * detail.seconds_per_step))
    if experiment.attempts > 1:
        yield _pair("attempts", str(experiment.attempts))
    if experiment.tags:
        yield _pair("tags", " ".join(experiment.tags))
    if experiment.note:
        yield _pair("note", " ".join(experiment.note.split()))


def _lineage(detail: Detail) -> Iterator[Line]:
    for taken in detail.inputs:
        parent = taken.input.parent_id
        facts = [] if taken.parent_name == parent else [parent]
        facts += [] if taken.input.step is None else [f"step {taken.input.step}"]
        yield _pair("from", f"{taken.parent_name} ({', '.join(facts)})" if facts else taken.parent_name)
    if detail.users:
        yield _pair("used by", " ".join(detail.users))


def _clock(seconds: float, now: float) -> str:
    moment = time.localtime(seconds)
    same_day = time.strftime("%j%Y", moment) == time.strftime("%j%Y", time.localtime(now))
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", moment)


def _metrics(experiment: Experiment) -> Iterator[Line]:
    from engine.telemetry.charts import panels

    names = [name for panel in panels(experiment.kind, experiment.last) for name in panel]
    for name in names[:_MOST_METRICS]:
        value = experiment.last[name]
        unit = unit_of(name) or ""
        unit = f" {_SHORT_UNITS.get(unit, unit)}".rstrip()
        number = duration(value) if unit == " s" and value >= 60 else short(value)
        ink = "" if math.isfinite(value) else "$error"
        label = f"{visible(name)} "
        text = f"{number:>{max(_NAME + _VALUE - cell_len(label), 0)}}"
        fits = cell_len(label) + len(text) + len(unit) <= _ONE_LINE
        yield 0, Content.assemble((label, _QUIET), (text, ink), (unit if fits else "", _QUIET))
    if len(names) > _MOST_METRICS:
        yield 0, Content.assemble((f"and {len(names) - _MOST_METRICS} more in its charts", _QUIET))


def _differences(differences: Mapping[str, tuple[object, object]]) -> Iterator[Line]:
    told = [(key, values) for key, values in differences.items() if key not in ("name", "note")]
    if not told:
        yield 0, Content.assemble(("nothing but its name", _QUIET))
    for key, (old, new) in told[:_MOST_DIFFERENCES]:
        now, before = Content.assemble((f"{visible(key)}  ", _QUIET), _value(new)), f"  was {_value(old)}"
        if now.cell_length + cell_len(before) <= _ONE_LINE:
            yield 2, Content.assemble(now, (before, _QUIET))
        else:
            yield from ((2, now), (2, Content.assemble((before, _QUIET))))
    if len(told) > _MOST_DIFFERENCES:
        yield 0, Content.assemble((f"and {len(told) - _MOST_DIFFERENCES} more", _QUIET))


def _value(value: object) -> str:
    return short(value) if isinstance(value, float) else "none" if value is None else visible(str(value))


def _artifact(artifact: Artifact) -> Line:
    return _LABEL, Content.assemble((f"{visible(artifact.kind):<{_LABEL}}", _QUIET), visible(artifact.path))


def _event(event: Event) -> Line:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    return _LABEL, Content.assemble((f"{clock}  ", _QUIET), (visible(event.message), _LEVELS.get(str(event.level), "")))
