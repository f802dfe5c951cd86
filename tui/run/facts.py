"""All that the Run screen shows of one experiment, read from the store in steps that cost what is new."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tui.logs.levels import Counted, LevelCounter
from tui.run.curves import Curves
from tui.run.growing import Growing
from tui.run.spec_text import SpecFacts
from tui.run.tracks import Look, Tracks

if TYPE_CHECKING:
    from engine.store.attempts import Attempt, Contact
    from engine.store.database import Store
    from engine.store.events import Event
    from engine.store.experiment import Experiment
    from engine.store.pedigree import Pedigree
    from engine.store.samples import Sample
    from engine.telemetry.health_observed import Points, Verdict

_MOST_EVENTS = 2_000  # kept, newest
_MOST_SAMPLES = 200  # shown, newest
_EVENTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, eq=False)
class RunFacts:
    """What is known of an experiment at one moment."""

    experiment: Experiment
    attempts: Sequence[Attempt]
    contacts: Sequence[Contact]
    curves: Curves
    events: Sequence[Event]
    samples: Sequence[Sample]
    logs: Sequence[Path]  # newest attempt first
    live: Sequence[Experiment]  # all experiments that have not ended
    targets: Mapping[str, float] = field(default_factory=dict)  # what its spec aims at, by metric
    verdicts: Sequence[Verdict] = ()  # what is wrong with it, the worst first
    counted: Mapping[Path, Counted] = field(default_factory=dict)  # logs that tell of warnings and errors
    spec: SpecFacts | None = None  # if it is wanted, as are samples and family
    family: Pedigree | None = None

    @property
    def marks(self) -> list[tuple[int, str]]:
        """Restarts, rollbacks and checkpoints as (step, kind)."""
        restarts = [(attempt.resumed_step or 0, "restart") for attempt in self.attempts[1:] if attempt.started_at]
        rollbacks = [(step, "rollback") for step in self._steps("rolled_back")]
        return [*restarts, *rollbacks, *((step, "checkpoint") for step in self._steps("checkpoint"))]

    @property
    def last_checkpoint(self) -> int | None:
        """Step of the newest checkpoint."""
        return max(self._steps("checkpoint"), default=None)

    def _steps(self, name: str) -> list[int]:
        """Return the steps of the events of a name that no later attempt superseded."""
        resumed = [(each.number, each.resumed_step) for each in self.attempts if each.resumed_step is not None]
        return [
            event.step
            for event in self.events
            if event.event == name
            and event.step is not None
            and all(event.step <= step for number, step in resumed if number > event.attempt)
        ]

    def log_name(self, path: Path) -> tuple[str, ...]:
        """Return e.g. ("attempt 2", "node-3", "rank 5"): where a log comes from, what matters most last."""
        number, node = _number(path.parent.parent.name), _number(path.parent.name)
        placement = next((attempt.placement for attempt in self.attempts if attempt.number == number), ())
        host = next((str(seat["host"]) for seat in placement if seat.get("index") == node), f"node {node}")
        attempt = (f"attempt {number}",) if len(self.attempts) > 1 else ()
        return (*attempt, host, path.stem.replace("-", " "))


class RunReader:
    """Reads an experiment again and again; the points that it has are not read twice. For one thread at a time.

    is_wanted: false lets it leave the rest of the points to a later read. To be set by any thread.
    """

    def __init__(self, store: Store, experiment_id: str) -> None:
        self._store, self._id = store, experiment_id
        self.is_wanted = True
        self._lineage: tuple[tuple[int, int | None], ...] = ()
        self._tracks, self._judged = Tracks(), Growing()  # what is shown, and all points of what health looks at
        self._events: list[Event] = []
        self._aims: tuple[str, float | None, int | None] = ("", None, None)  # hash of the spec, KL, samples a step
        self._counter = LevelCounter()

    def read(self, pane: str = "", look: Look | None = None) -> RunFacts:
        """Return what is known now; samples, spec and family only for the pane of that name.

        look: what the charts show of their x axis; null: all. Raises NotFound after a deletion.
        """
        from engine.store import attempts, events, experiments
        from engine.store import samples as sample_rows
        from engine.store.pedigree import pedigree

        store, experiment_id = self._store, self._id
        experiment = experiments.get(store, experiment_id)
        all_attempts = attempts.list_attempts(store, experiment_id)
        self._read_series(tuple((attempt.number, attempt.resumed_step) for attempt in all_attempts))
        while fresh := events.list_events(
            store, experiment_id, after_id=self._events[-1].id if self._events else 0, limit=_EVENTS_AT_ONCE
        ):
            self._events = [*self._events, *fresh][-_MOST_EVENTS:]
        self._read_aims(experiment)
        _, kl_target, samples_per_step = self._aims
        contacts = attempts.contacts(store, experiment_id)
        curves = self._tracks.curves(samples_per_step)
        if self._tracks.look(store, experiment_id, curves, look):
            curves = self._tracks.curves(samples_per_step)
        logs = log_files(store.runs_dir, experiment_id)
        newest = [path for path in logs if logs and path.parent.parent == logs[0].parent.parent]
        return RunFacts(
            experiment=experiment,
            attempts=all_attempts,
            contacts=contacts,
            curves=curves,
            events=list(self._events),
            samples=sample_rows.list_samples(store, experiment_id, newest=_MOST_SAMPLES) if pane == "samples" else (),
            logs=logs,
            live=experiments.unfinished(store),
            targets={} if kl_target is None else {"kl": kl_target},
            verdicts=_judge(experiment, {**curves.series, **self._judged.curves()}, contacts, kl_target),
            counted=self._counter.count(newest),
            spec=self._read_spec(experiment) if pane == "spec" else None,
            family=pedigree(store, experiment_id) if pane == "lineage" else None,
        )

    def _read_aims(self, experiment: Experiment) -> None:
        """Read what the spec aims at; again when a resumed attempt has another one."""
        if experiment.spec_hash == self._aims[0]:
            return
        from engine.spec.models import PpoSpec, RmSpec, SftSpec
        from engine.store import experiments
        from engine.store.verdicts import kl_target

        spec = experiments.get_spec(self._store, experiment.id)
        samples = None
        if isinstance(spec, PpoSpec):
            samples = spec.rollout.prompts * spec.rollout.samples_per_prompt
        elif isinstance(spec, SftSpec | RmSpec):
            samples = spec.train.batch_size
        self._aims = experiment.spec_hash, kl_target(spec), samples

    def _read_spec(self, experiment: Experiment) -> SpecFacts:
        from engine.spec.canonical import diff
        from engine.store import experiments

        store, parent = self._store, experiment.parent_id
        text = experiments.spec_text(store, experiment.id)
        if parent is None:
            return SpecFacts(text, None, {})
        before, after = (experiments.get_spec(store, identity) for identity in (parent, experiment.id))
        return SpecFacts(text, parent, diff(before, after))

    def _read_series(self, lineage: tuple[tuple[int, int | None], ...]) -> None:
        from engine.store.point_arrays import fresh
        from engine.telemetry.health import LOOKED_AT

        if lineage != self._lineage:
            # a new attempt supersedes points of earlier ones as soon as it is known where it resumed
            self._tracks, self._judged, self._lineage = Tracks(), Growing(), lineage
        with closing(fresh(self._store, self._id, self._tracks.ends)) as found:
            for name, points in found:
                self._tracks.extend(name, points)
                if name in LOOKED_AT:
                    self._judged.extend(name, points)
                if not self.is_wanted:
                    break


def _judge(
    experiment: Experiment, series: Mapping[str, Points], contacts: Sequence[Contact], kl_target: float | None
) -> Sequence[Verdict]:
    from engine.store.verdicts import all_heard, rank_marks
    from engine.telemetry.health import verdicts
    from engine.telemetry.health_observed import Observed
    from engine.telemetry.states import State

    now, mine = time.time(), [contact for contact in contacts if contact.attempt == experiment.attempts]
    running = experiment.state is State.RUNNING
    heard, ranks = all_heard(mine, now), rank_marks(mine, now)
    return verdicts(Observed(experiment.kind, running, series, now, kl_target, heard, ranks))


def log_files(runs_dir: Path, experiment_id: str) -> list[Path]:
    """Return the local log files of an experiment: newest attempt first, in it by rank, then the agents' logs."""
    files = (runs_dir / experiment_id).glob("attempt-*/node-*/*.log")
    return sorted(files, key=_log_order)


def _log_order(path: Path) -> tuple[int, bool, int, int]:
    return (
        -_number(path.parent.parent.name),
        not path.stem.startswith("rank-"),
        _number(path.parent.name),
        _number(path.stem),
    )


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
