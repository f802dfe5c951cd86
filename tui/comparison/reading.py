"""All that a comparison knows of its runs, read from the store in steps that cost what is new."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import NotFound, PlumblineError
from tui.marks import LETTERS
from tui.run.curves import Curves
from tui.run.tracks import Look, Tracks

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment
    from engine.store.samples import Sample

_TOKENS = "tokens"  # places steps on the axis of tokens


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """One of the runs. Its color is its place among them, and so is its letter."""

    place: int
    experiment: Experiment
    names: tuple[str, ...]  # of all its series
    curves: Curves  # those that were read
    spec: Mapping[str, Any] | None = None  # by dotted key; null: this version cannot read it
    kl_target: float | None = None
    samples: Sequence[Sample] = ()

    @property
    def id(self) -> str:
        """The id of the experiment."""
        return self.experiment.id

    @property
    def letter(self) -> str:
        """The letter that it has wherever it is shown."""
        return LETTERS[self.place]


@dataclass(slots=True)
class _Known:
    """What was read of one run before."""

    lineage: tuple[tuple[int, int | None], ...] = ()
    tracks: Tracks = field(default_factory=Tracks)
    spec_hash: str = ""
    spec: Mapping[str, Any] | None = None
    kl_target: float | None = None
    sampled_at: tuple[object, ...] | None = None
    samples: Sequence[Sample] = ()


class ComparisonReader:
    """Reads the runs again and again; points, specs and samples that it has are not read twice. For one thread."""

    def __init__(self, store: Store, ids: Sequence[str]) -> None:
        self._store, self.ids = store, tuple(ids)
        self._known = {identity: _Known() for identity in ids}

    def read(self, wanted: Collection[str], look: Look | None = None, *, samples: bool = False) -> list[ComparedRun]:
        """Return what is known now of the runs that are there.

        Args:
            wanted: names of the series whose points are needed.
            look: what the charts show of their x axis; null: all.
            samples: whether the samples are.
        """
        runs: list[ComparedRun] = []
        for identity in self.ids:
            try:
                runs.append(self._run(len(runs), identity, wanted, look, samples))
            except NotFound:
                continue
        return runs

    def _run(self, place: int, identity: str, wanted: Collection[str], look: Look | None, samples: bool) -> ComparedRun:
        from engine.store import experiments

        known = self._known[identity]
        experiment = experiments.get(self._store, identity)
        if experiment.spec_hash != known.spec_hash:
            self._read_spec(known, experiment)
        self._read_series(known, identity, {*wanted, _TOKENS})
        curves = known.tracks.curves()
        if known.tracks.look(self._store, identity, curves, look):
            curves = known.tracks.curves()
        if samples:
            self._read_samples(known, experiment)
        return ComparedRun(
            place=place,
            experiment=experiment,
            names=tuple(experiment.last),
            curves=curves,
            spec=known.spec,
            kl_target=known.kl_target,
            samples=known.samples,
        )

    def _read_spec(self, known: _Known, experiment: Experiment) -> None:
        from engine.spec.canonical import flatten
        from engine.spec.models import PpoSpec
        from engine.store import experiments

        try:
            spec = experiments.get_spec(self._store, experiment.id)
        except NotFound:
            raise
        except PlumblineError:
            known.spec, known.kl_target = None, None
        else:
            known.spec = flatten(spec)
            known.kl_target = spec.ppo.kl_target if isinstance(spec, PpoSpec) else None
        known.spec_hash = experiment.spec_hash

    def _read_series(self, known: _Known, identity: str, wanted: Collection[str]) -> None:
        from engine.store import attempts
        from engine.store.point_arrays import fresh

        found = attempts.list_attempts(self._store, identity)
        lineage = tuple((attempt.number, attempt.resumed_step) for attempt in found)
        if lineage != known.lineage:
            # a new attempt supersedes points of earlier ones
            known.tracks, known.lineage = Tracks(), lineage
        for name, points in fresh(self._store, identity, known.tracks.ends, wanted):
            known.tracks.extend(name, points)

    def _read_samples(self, known: _Known, experiment: Experiment) -> None:
        from engine.store.samples import list_samples

        mark = (experiment.step, experiment.attempts, experiment.state, experiment.heard_at)
        if mark != known.sampled_at:
            known.samples, known.sampled_at = list_samples(self._store, experiment.id), mark
