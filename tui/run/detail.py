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
from tui.canvas.charset import ASCII, current
from tui.text.safe import visible
from tui.text.wrapping import Line, wrapped
from tui.theme import STATE_COLORS, glyph

if TYPE_CHECKING:
    from engine.store.attempts import Attempt
    from engine.store.database import Store
    from engine.store.events import Event
    from engine.store.experiment import Experiment
    from engine.store.facts import Artifact
    from engine.store.inputs import Taken
    from engine.telemetry.health_observed import Verdict

_LABEL = 10  # cells
_MOST_EVENTS = 8
_MOST_DIFFERENCES = 12
_MOST_METRICS = 16
_MOST_VERDICTS = 3
_NAME, _VALUE = 18, 7  # cells of a metric
_ONE_LINE = 32  # cells that every pane has
_QUIET, _HEAD = "$foreground 60%", "bold $foreground 75%"
_SHORT_UNITS = {"tokens/s": "tok/s", "1": "", "samples/s": "smp/s", "nats/sequence": "nats", "nats/token": "nats"}
_SIGNS = {"good": ("✔", "+"), "warning": ("⚠", "!"), "error": ("✖", "x")}
_LEVELS = {"info": "", "warning": "$warning", "error": "$error"}


@dataclass(frozen=True, slots=True)
class Detail:
    """One experiment, whole."""

    experiment: Experiment
    against: str | None  # id of the baseline, or else of its parent
    differences: Mapping[str, tuple[object, object]]  # dotted key: of that one, of this one
    events: Sequence[Event]  # newest last
    artifacts: Sequence[Artifact]
    inputs: Sequence[Taken]  # what it takes from others
    users: Sequence[str]  # ids of those that take from it
    newest: Attempt | None  # of its attempts


class DetailReader:
    """Reads an experiment, compares two specs once, and is for one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By two ids: the two texts that were compared, and what came of it.
        self._differences: dict[tuple[str, str], tuple[tuple[str, str], Mapping[str, tuple[object, object]]]] = {}

    def read(self, identity: str, baseline: str | None = None) -> Detail:
        """Return what is known now. baseline: what it is compared with, instead of its parent.

        Raises NotFound after a deletion.
        """
        from engine.store import attempts, events, experiments, facts
        from engine.store import inputs as lineage

        store = self._store
        experiment = experiments.get(store, identity)
        against = baseline if baseline not in (None, identity) else experiment.parent_id
        return Detail(
            experiment=experiment,
            against=against,
            differences=self.differences(against, identity) if against is not None else {},
            events=events.list_events(store, identity, limit=_MOST_EVENTS, newest=True),
            artifacts=facts.artifacts(store, identity),
            inputs=lineage.inputs_of(store, identity),
            users=lineage.users_of(store, identity),
            newest=next(reversed(attempts.list_attempts(store, identity)), None),
        )

    def differences(self, before: str, after: str) -> Mapping[str, tuple[object, object]]:
        """Return in which keys the specs of two experiments differ: of the first, of the second."""
        from engine.spec.canonical import diff
        from engine.store import experiments

        ids = before, after
        texts = experiments.spec_text(self._store, before), experiments.spec_text(self._store, after)
        known = self._differences.get(ids)
        if known is None or known[0] != texts:
            old, new = (experiments.get_spec(self._store, identity) for identity in ids)
            known = self._differences[ids] = (texts, diff(old, new))
        return known[1]


def detail_text(detail: Detail, now: float, width: int, verdicts: Sequence[Verdict] | None = None) -> Content:
    """Return the text of the pane.

    Args:
        detail: of the experiment.
        now: seconds since the epoch.
        width: cells of a line.
        verdicts: on its health, the worst first; null while they are not known.
    """
    lines: list[Line] = []
    for block in _blocks(detail, now, verdicts):
        lines += [*block, (0, Content())]
    return wrapped(lines[:-1], width)


def _blocks(detail: Detail, now: float, verdicts: Sequence[Verdict] | None) -> Iterator[list[Line]]:
    experiment = detail.experiment
    yield list(_state(experiment))
    if verdicts is not None and (verdicts or experiment.state is State.RUNNING):
        yield list(_verdicts(verdicts))
    yield list(_progress(detail, now))
    if detail.inputs or detail.users:
        yield list(_lineage(detail))
    if experiment.last:
        yield [_head("last metrics"), *_metrics(experiment)]
    if detail.against:
        parent = "" if detail.against == experiment.parent_id else " (baseline)"
        yield [_head(f"differs from {detail.against}{parent}"), *_differences(detail.differences)]
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


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[Line]:
    if not verdicts:
        yield 0, Content.assemble((f"{_sign('good')} nothing is wrong", "$success"))
    for verdict in verdicts[:_MOST_VERDICTS]:
        bad = str(verdict.level) == "error"
        style = "$error" if bad else "$warning"
        yield 2, Content.assemble((f"{_sign('error' if bad else 'warning')} {visible(verdict.sentence)}", style))
    if len(verdicts) > _MOST_VERDICTS:
        yield 2, Content.assemble((f"and {len(verdicts) - _MOST_VERDICTS} more in its events", _QUIET))


def _sign(level: str) -> str:
    return _SIGNS[level][current() is ASCII]


def _progress(detail: Detail, now: float) -> Iterator[Line]:
    from engine.store.remaining import seconds_left  # the first frame does without the database

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
    left = seconds_left(experiment, detail.newest, now)
    if left is not None:
        yield _pair("ETA", duration(left))
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
        now, before = Content.assemble((f"{visible(key)}  ", _QUIET), spec_value(new)), f"  was {spec_value(old)}"
        if now.cell_length + cell_len(before) <= _ONE_LINE:
            yield 2, Content.assemble(now, (before, _QUIET))
        else:
            yield from ((2, now), (2, Content.assemble((before, _QUIET))))
    if len(told) > _MOST_DIFFERENCES:
        yield 0, Content.assemble((f"and {len(told) - _MOST_DIFFERENCES} more", _QUIET))


def spec_value(value: object) -> str:
    """Return a value of a spec in few characters."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return short(value) if isinstance(value, float) else visible(str(value))


def _artifact(artifact: Artifact) -> Line:
    return _LABEL, Content.assemble((f"{visible(artifact.kind):<{_LABEL}}", _QUIET), visible(artifact.path))


def _event(event: Event) -> Line:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    return _LABEL, Content.assemble((f"{clock}  ", _QUIET), (visible(event.message), _LEVELS.get(str(event.level), "")))
