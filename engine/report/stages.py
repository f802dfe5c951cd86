"""The headline: which model answered what, in which order, and with which passages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from engine.report.evaluations import Known
from engine.report.records import CLOSED_BOOK, Headline, Measured, Questions, Stage
from engine.spec.canonical import flatten
from engine.spec.references import parse
from engine.spec.resolve import is_reference
from engine.store.inputs import inputs_of

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.experiment import Experiment

_ANSWERING = frozenset({"sft", "ppo"})  # kinds that make a model which answers
# What does not tell one way of asking from another; the rest of an evaluation's spec does.
_NOT_THE_SETTING = ("kind", "name", "note", "placement", "supervision", "examples", "seed", "model.path")
_PASSAGES = {"none": CLOSED_BOOK, "index": "retrieval", "gold": "true passages"}


@dataclass(frozen=True, slots=True)
class _Model:
    """A model that answers. key: id of the experiment, or the path of what was there before."""

    key: str
    depth: int  # how many experiments it went through
    kind: str | None  # of the experiment
    name: str


class Models:
    """The models of a report, by the experiments that made them and by their paths."""

    def __init__(self, store: Store, runs: Mapping[str, Experiment], specs: Mapping[str, AnySpec]) -> None:
        self._runs, self._specs = runs, specs
        self._parents = {
            identity: {taken.input.path: taken.input.parent_id for taken in inputs_of(store, identity)}
            for identity in runs
        }
        self._known: dict[str, _Model] = {}

    def of(self, identity: str) -> _Model | None:
        """Return the model that an experiment starts from or asks; null if it makes one from nothing."""
        path = flatten(self._specs[identity]).get("model.path")
        if path is None:
            return None
        parent = parse(path, identity).name if is_reference(path) else self._parents[identity].get(path)
        return (
            self.made_by(parent)
            if parent is not None and parent in self._runs
            else _Model(path, 0, None, PurePosixPath(path).name or path)
        )

    def made_by(self, identity: str) -> _Model:
        """Return the model that an experiment makes."""
        if identity not in self._known:
            run = self._runs[identity]
            self._known[identity] = _Model(identity, 0, run.kind, run.name)  # stands while its parents are looked at
            parent = self.of(identity)
            depth = 1 if parent is None else parent.depth + 1
            self._known[identity] = _Model(identity, depth, run.kind, run.name)
        return self._known[identity]

    def answering(self) -> Iterator[_Model]:
        """Yield the models that could be asked: those of SFT and PPO, and what these started from."""
        for identity, run in self._runs.items():
            if run.kind in _ANSWERING:
                start = self.of(identity)
                yield from () if start is None else (start,)
                yield self.made_by(identity)


def headlines(models: Models, evaluations: Sequence[Known]) -> list[Headline]:
    """Return the evaluations by what they asked, the most asked questions first; without their changes."""
    asked: dict[tuple[str, str, int, str], list[Known]] = defaultdict(list)
    for one in evaluations:
        asked[one.spec.questions, one.spec.split or "", one.spec.limit, one.spec.format].append(one)
    ordered = sorted(asked.items(), key=lambda each: (-len(each[1]), each[0]))
    return [
        _headline(Questions(PurePosixPath(file).name, split or None, limit, form), models, own)
        for (file, split, limit, form), own in ordered
    ]


def _headline(questions: Questions, models: Models, own: Sequence[Known]) -> Headline:
    asked = {one.experiment.id: models.of(one.experiment.id) for one in own}
    every = {model.key: model for model in (*models.answering(), *asked.values()) if model is not None}
    ordered = sorted(every.values(), key=lambda model: (model.depth, model.kind == "ppo", model.name, model.key))
    places = {model.key: place for place, model in enumerate(ordered)}
    stages = _stages(ordered)
    settings = _settings(own)
    names = sorted(set(settings.values()), key=lambda name: (list(_PASSAGES.values()).index(_base(name)), name))
    cells: dict[tuple[int, int], Measured] = {}
    left_out = []
    for one in sorted(own, key=lambda each: (each.experiment.created_at, each.experiment.id)):
        model, identity = asked[one.experiment.id], one.experiment.id
        stage, setting = places[model.key] if model is not None else 0, names.index(settings[identity])
        before = cells.get((stage, setting))
        if before is not None:
            left_out.append(f"{before.evaluation} asked the same as {identity}, which is newer and stands here.")
        cells[stage, setting] = _measured(one, stage, setting, stages[stage].label, names[setting])
    measured = tuple(cells[key] for key in sorted(cells, key=lambda key: (key[1], key[0])))
    chain = _chain(measured)
    return Headline(questions, stages, tuple(names), measured, chain, tuple(left_out), ())


def _stages(models: Sequence[_Model]) -> tuple[Stage, ...]:
    """Return the stages with a label each that no other one has."""
    plain = [model.kind.upper() if model.kind is not None else "base" for model in models]
    labels = [label if plain.count(label) == 1 else model.name for label, model in zip(plain, models, strict=True)]
    labels = [
        label if labels.count(label) == 1 else f"{label} ({model.key})"
        for label, model in zip(labels, models, strict=True)
    ]
    return tuple(
        Stage(label, model.name, model.key if model.kind is not None else None)
        for label, model in zip(labels, models, strict=True)
    )


def _settings(own: Sequence[Known]) -> dict[str, str]:
    """Return how each evaluation asked, by id: its passages, and what else tells it from others with such passages."""
    told = {
        one.experiment.id: {
            key: value for key, value in flatten(one.spec).items() if not key.startswith(_NOT_THE_SETTING)
        }
        for one in own
    }
    found = {}
    for one in own:
        mine = told[one.experiment.id]
        alike = [told[each.experiment.id] for each in own if each.spec.passages == one.spec.passages]
        keys = dict.fromkeys(key for each in alike for key in each)
        differing = [key for key in keys if any(each.get(key) != mine.get(key) for each in alike)]
        apart = ", ".join(f"{key} {_value(mine.get(key))}" for key in differing)
        base = _PASSAGES[one.spec.passages]
        found[one.experiment.id] = f"{base} ({apart})" if apart else base
    return found


def _value(value: Any) -> str:
    if isinstance(value, str) and "/" in value:
        # Of a path what tells most: .../facts-rag-1/index.
        return "/".join(PurePosixPath(value).parts[-2:])
    return "null" if value is None else str(value)


def _base(setting: str) -> str:
    return setting.partition(" (")[0]


def _measured(one: Known, stage: int, setting: int, label: str, name: str) -> Measured:
    return Measured(
        evaluation=one.experiment.id,
        stage=stage,
        setting=setting,
        label=label if name == CLOSED_BOOK else f"{label} + {name}",
        state=one.experiment.state,
        note=one.note,
        part=one.part,
        groups=one.groups,
        retrieval=one.retrieval,
        causes=one.causes,
        calibration=one.calibration,
    )


def _chain(measured: Sequence[Measured]) -> tuple[str, ...]:
    """Return the story: each model without passages, one after the other, then the last one with them."""
    told = [one for one in measured if one.part is not None]
    if not told:
        return ()
    first = [one for one in told if one.setting == told[0].setting]
    last = max(one.stage for one in told)
    rest = [one for one in told if one.setting != first[0].setting and one.stage == last]
    return tuple(one.evaluation for one in (*first, *rest))
