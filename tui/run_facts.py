"""All that the Run screen shows of one experiment, read from the store in steps that cost what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tui.curves import Curve, Curves

if TYPE_CHECKING:
    from engine.store.attempts import Attempt, Contact
    from engine.store.database import Store
    from engine.store.events import Event
    from engine.store.experiments import Experiment
    from engine.store.samples import Sample

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
    """Reads an experiment again and again; the points that it has are not read twice. For one thread at a time."""

    def __init__(self, store: Store, experiment_id: str) -> None:
        self._store, self._id = store, experiment_id
        self._lineage: tuple[tuple[int, int | None], ...] = ()
        self._series: dict[str, Curve] = {}
        self._events: list[Event] = []
        self._targets: tuple[str, Mapping[str, float]] = ("", {})  # of which spec, by its hash

    def read(self, *, samples: bool = False) -> RunFacts:
        """Return what is known now; the samples only if they are wanted. Raises NotFound after a deletion."""
        from engine.store import attempts, events, experiments
        from engine.store import samples as sample_rows

        store, experiment_id = self._store, self._id
        experiment = experiments.get(store, experiment_id)
        all_attempts = attempts.list_attempts(store, experiment_id)
        self._read_series(tuple((attempt.number, attempt.resumed_step) for attempt in all_attempts))
        while fresh := events.list_events(
            store, experiment_id, after_id=self._events[-1].id if self._events else 0, limit=_EVENTS_AT_ONCE
        ):
            self._events = [*self._events, *fresh][-_MOST_EVENTS:]
        return RunFacts(
            experiment=experiment,
            attempts=all_attempts,
            contacts=attempts.contacts(store, experiment_id),
            curves=Curves(dict(self._series)),
            events=list(self._events),
            samples=sample_rows.list_samples(store, experiment_id)[-_MOST_SAMPLES:] if samples else (),
            logs=log_files(store.runs_dir, experiment_id),
            live=experiments.unfinished(store),
            targets=self._read_targets(experiment),
        )

    def _read_targets(self, experiment: Experiment) -> Mapping[str, float]:
        """Return what the spec aims at; it is read again when a resumed attempt has another one."""
        if experiment.kind == "ppo" and experiment.spec_hash != self._targets[0]:
            from engine.spec.models import PpoSpec
            from engine.store import experiments

            spec = experiments.get_spec(self._store, experiment.id)
            target = spec.ppo.kl_target if isinstance(spec, PpoSpec) else None
            self._targets = experiment.spec_hash, {} if target is None else {"kl": target}
        return self._targets[1]

    def _read_series(self, lineage: tuple[tuple[int, int | None], ...]) -> None:
        from engine.store import series

        if lineage != self._lineage:
            # a new attempt supersedes points of earlier ones as soon as it is known where it resumed
            self._series, self._lineage = {}, lineage
        for info in series.names(self._store, self._id):
            known = self._series.get(info.name)
            fresh = series.read(self._store, self._id, info.name, after=known.last if known else None)
            if len(fresh.step):
                curve = Curve.of(fresh.attempt, fresh.step, fresh.time, fresh.value)
                self._series[info.name] = known + curve if known else curve


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
