"""A pipeline: several experiments in one file, each of which may take what others of them make.

    pipeline: facts
    stages:
      sft: {spec: sft.yaml}
      ppo: {spec: ppo.yaml, set: {model.path: "${sft.model}"}}

A stage has a spec, in a file of its own or written out, and settings over it. In place of a path `${STAGE.model}` is
what another stage makes. The experiment of a stage is called PIPELINE-STAGE.
"""

from __future__ import annotations

import fnmatch
import graphlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from engine.errors import InvalidInput
from engine.spec.document import Document, KeyPath, dotted, set_option
from engine.spec.fields import Section
from engine.spec.keys import key_at, keys_below, nearest
from engine.spec.loading import checked, is_pipeline, kind_of, read_document, validate
from engine.spec.models import SPEC_TYPES, AnySpec, Kind
from engine.spec.references import Reference, parse, with_paths
from engine.spec.resolve import absolute, is_reference, paths_by_place, with_absolute_paths

# What an experiment of each kind makes, as its artifact is called.
MAKES: Mapping[Kind, str] = {
    Kind.SFT: "model",
    Kind.RM: "reward_model",
    Kind.PPO: "policy",
    Kind.RAG: "index",
    Kind.EVAL: "evaluation",
    Kind.SIM: "model",
}
_OF_EVERY_KIND = ("artifact", "run")  # outputs beside that


@dataclass(frozen=True, slots=True)
class Stage:
    """One experiment of a pipeline. Its references to other stages are by their names, whatever a file wrote."""

    name: str
    spec: AnySpec | None  # its paths are absolute; null: what `experiment` has made is taken
    experiment: str | None  # name or id of one that was launched before
    parents: tuple[str, ...]  # stages that it takes from or comes after, in launch order
    where: str  # FILE:LINE


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a pipeline file says."""

    name: str
    note: str | None
    source: str  # the file
    stages: tuple[Stage, ...]  # parents come first; otherwise in the order of the file

    def experiment_name(self, stage: str) -> str:
        """Return what the experiment of a stage is called."""
        return f"{self.name}-{stage}"

    def chosen(self, only: Sequence[str], skip: Sequence[str]) -> tuple[Stage, ...]:
        """Return the stages to launch: those of `only`, or else all, but those of `skip`, and no given experiments.

        only, skip: names, or patterns of them such as `eval-*`.

        Raises:
            InvalidInput: if a name means no stage, or none is left.
        """
        kept, left_out = self._named(only, "--only"), self._named(skip, "--skip")
        found = tuple(
            stage
            for stage in self.stages
            if stage.spec is not None and (not only or stage.name in kept) and stage.name not in left_out
        )
        if not found:
            raise InvalidInput("no stage is left to launch.", where=self.source)
        return found

    def _named(self, patterns: Sequence[str], option: str) -> set[str]:
        names = [stage.name for stage in self.stages]
        named: set[str] = set()
        for pattern in patterns:
            matching = fnmatch.filter(names, pattern)
            if not matching:
                raise InvalidInput(
                    f"{self.source} has no stage {pattern}.", hint=_did_you_mean(pattern, names), where=option
                )
            named.update(matching)
        return named


def _file_or_spec(value: Any) -> Any:
    if not isinstance(value, dict) and not (isinstance(value, str) and value and "\0" not in value):
        raise PydanticCustomError("spec_type", "no file and no spec")
    return value


_STAGE_NAME = "at most 40 of A-Z, a-z, 0-9, '_' and '-' (a letter or digit first)"
_StageName = Annotated[
    str,
    Field(max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", json_schema_extra={"allowed": _STAGE_NAME}),
]


class _StageEntry(Section):
    """A stage."""

    spec: Annotated[Any, BeforeValidator(_file_or_spec)] = Field(
        None,
        description="spec file, relative to this one, or the spec",
        json_schema_extra={"allowed": "a file or a spec"},
    )
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="keys of the spec that are set over it",
        json_schema_extra={"allowed": "keys with values"},
    )
    after: tuple[str, ...] = Field((), description="stages that it comes after, beside those that it takes from")
    experiment: str | None = Field(
        None, description="in place of spec: name or id of an experiment that was launched before"
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.spec is None) == (self.experiment is None):
            raise ValueError("needs spec or experiment, and not both")
        if self.experiment is not None and (self.set or self.after):
            raise ValueError("has experiment, beside which set and after mean nothing")
        return self


class _PipelineFile(Section):
    """A pipeline file."""

    pipeline: str = Field(
        max_length=60,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name of the pipeline",
        json_schema_extra={"allowed": "at most 60 of A-Z, a-z, 0-9, '.', '_' and '-' (a letter or digit first)"},
    )
    note: str | None = Field(None, description="a line for people")
    stages: dict[_StageName, _StageEntry] = Field(description="the experiments by name", min_length=1)


def names_pipeline(path: Path) -> bool:
    """Whether this is a file that holds a pipeline, and not the spec of one experiment."""
    try:
        return path.is_file() and is_pipeline(read_document(path))
    except InvalidInput:
        return False


def load_pipeline(path: Path, overrides: Sequence[str] = (), *, name: str | None = None) -> Pipeline:
    """Return the pipeline in a file.

    Args:
        path: a YAML file in UTF-8. Its relative paths are relative to its folder, those of a spec file to that one's.
        overrides: STAGE.KEY=VALUE settings over one stage, KEY=VALUE over all stages that have this key.
        name: of the pipeline; null: as the file says.

    Raises:
        InvalidInput: with the place of the first fault, and all faults of all stages in the message, one a line.
    """
    document = read_document(path)
    own_name = document.values.get("pipeline")
    if name is not None:
        document.put(("pipeline",), name, {(): "--name"})
    file = checked(document, _PipelineFile)
    known = {f"{prefix}-{stage}": stage for prefix in (own_name, file.pipeline) for stage in file.stages}
    reader = _Reader(path, document, file, known)
    stages = reader.stages(overrides)
    return Pipeline(file.pipeline, file.note, str(path), _in_order(stages))


def deal(overrides: Sequence[str], kinds: Mapping[str, Kind]) -> dict[str, list[tuple[str, str]]]:
    """Return the settings of each stage, KEY=VALUE, and how each was given.

    STAGE.KEY=VALUE is for one stage, KEY=VALUE for all that have this key. Where a stage is called as a key is, its
    name counts.

    kinds: of the stages, by name.

    Raises:
        InvalidInput: if a setting is for none of them.
    """
    dealt: dict[str, list[tuple[str, str]]] = {stage: [] for stage in kinds}
    for setting in overrides:
        key = setting.partition("=")[0].strip()
        stage, dot, below = key.partition(".")
        if stage in dealt and dot:
            dealt[stage].append((below + setting.partition(key)[2], setting))
            continue
        path = tuple(key.split("."))
        having = [stage for stage, kind in kinds.items() if key_at(SPEC_TYPES[kind], path) is not None]
        if not having:
            raise _for_none(setting, key, kinds)
        for stage in having:
            dealt[stage].append((setting, setting))
    return dealt


def _for_none(setting: str, key: str, kinds: Mapping[str, Kind]) -> InvalidInput:
    """Return what to say of a setting that is for no stage."""
    keys = {name: its.description for kind in kinds.values() for name, its in keys_below(SPEC_TYPES[kind])}
    stage, _, below = key.partition(".")
    near = nearest(stage, dict.fromkeys(kinds, "")) if below else None
    if near is not None and key_at(SPEC_TYPES[kinds[near]], below.split(".")) is not None:
        meant: str | None = f"{near}.{below}"
    else:
        meant = nearest(key, keys)
    hint = f"Did you mean {meant}?" if meant else f"A key of one stage follows its name: {next(iter(kinds))}.KEY=VALUE."
    return InvalidInput(
        f"there is no stage {stage}, and no stage has a key {key}.", hint=hint, where=set_option(setting)
    )


class _Reader:
    """Reads the stages of one file, and gathers what is wrong with any of them."""

    def __init__(self, path: Path, document: Document, file: _PipelineFile, known: Mapping[str, str]) -> None:
        """Prepare. known: the stages by the names of their experiments."""
        self._path, self._document, self._file, self._known = path, document, file, known
        self._folder = path.resolve().parent
        self._faults: list[InvalidInput] = []

    def stages(self, overrides: Sequence[str]) -> list[Stage]:
        """Return the stages in the order of the file. Raises InvalidInput with all that is wrong."""
        documents: dict[str, tuple[Document, Path]] = {}
        kinds: dict[str, Kind] = {}
        for name, entry in self._file.stages.items():
            if entry.spec is not None:
                try:
                    documents[name] = self._spec_document(name, entry)
                    kinds[name] = kind_of(documents[name][0])
                except InvalidInput as error:
                    self._faults.append(error)
        self._raise_faults()
        dealt = deal(overrides, kinds)
        specs: dict[str, AnySpec] = {}
        for name, (document, folder) in documents.items():
            try:
                for setting, given in dealt[name]:
                    document.override(setting, set_option(given))
                specs[name] = self._spec(document, folder)
            except InvalidInput as error:
                self._faults.append(error)
        self._raise_faults()
        found = []
        for name, entry in self._file.stages.items():
            spec, parents = specs.get(name), list[str]()
            if spec is not None:
                spec, parents = self._with_stages(spec, documents[name][0], kinds)
            parents += self._after(name, entry)
            where = self._document.places["stages", name]
            found.append(Stage(name, spec, entry.experiment, tuple(dict.fromkeys(parents)), where))
        self._raise_faults()
        return found

    def _spec_document(self, name: str, entry: _StageEntry) -> tuple[Document, Path]:
        """Return the spec of a stage with what the file sets over it, and the folder that its paths are relative to."""
        at: KeyPath = ("stages", name, "spec")
        if isinstance(entry.spec, dict):
            document, folder = self._document.below(at), self._folder
        else:
            file = self._path.parent / Path(entry.spec).expanduser()
            if not file.is_file():
                told = f"{dotted(at)} is {entry.spec}, and there is no such file."
                raise InvalidInput(told, where=self._document.places[at])
            document, folder = read_document(file), file.resolve().parent
        for key, value in entry.set.items():
            at = ("stages", name, "set", key)
            path = tuple(key.split("."))
            if not all(path):
                told = f"{key} is no key, in dots, of a spec."
                raise InvalidInput(told, where=self._document.places[at])
            document.put(path, value, self._document.places_below(at))
        return document, folder

    def _spec(self, document: Document, folder: Path) -> AnySpec:
        """Return the spec with absolute paths: those that stand in the pipeline file are relative to its folder."""
        spec = validate(document)
        if folder != self._folder:
            for place, text in paths_by_place(spec).items():
                if not is_reference(text) and document.placed(place) in document.overridden:
                    _replace(document.values, place, str(absolute(text, self._folder)))
            spec = validate(document)
        return with_absolute_paths(spec, folder)

    def _with_stages(self, spec: AnySpec, document: Document, kinds: Mapping[str, Kind]) -> tuple[AnySpec, list[str]]:
        """Return the spec with names of stages, or of given experiments, in its references, and these stages."""
        named: dict[str, str] = {}
        parents: list[str] = []
        for place, text in paths_by_place(spec).items():
            if not is_reference(text):
                continue
            where = document.places[document.placed(place)]
            try:
                reference = parse(text, dotted(place))
                stage = self._stage_of(reference, dotted(place), is_own=where.startswith(f"{self._path}:"))
                given = self._file.stages[stage].experiment if stage is not None else None
                if given is not None:
                    named[text] = reference.of(given)
                elif stage is not None:
                    _require_made(reference, stage, kinds[stage], dotted(place))
                    named[text] = reference.of(stage)
                    parents.append(stage)
            except InvalidInput as error:
                error.where = where
                self._faults.append(error)
        return with_paths(spec, named), parents

    def _stage_of(self, reference: Reference, key: str, *, is_own: bool) -> str | None:
        """Return the stage that a reference means, if it means one. is_own: it stands in the pipeline file."""
        stages = self._file.stages
        if reference.name in stages:
            return reference.name
        if reference.name in self._known:
            return self._known[reference.name]
        if is_own:
            near = nearest(reference.name, dict.fromkeys(stages, ""))
            hint = f"A stage that is made already is one with experiment: {reference.name}."
            raise InvalidInput(
                f"{key} is {reference.text}, and there is no stage {reference.name}.",
                hint=f"Did you mean {reference.of(near)}?" if near else hint,
            )
        return None

    def _after(self, name: str, entry: _StageEntry) -> Iterable[str]:
        for index, other in enumerate(entry.after):
            if other in self._file.stages:
                yield other
                continue
            at: KeyPath = ("stages", name, "after", index)
            where = self._document.places[self._document.placed(at)]
            hint = _did_you_mean(other, self._file.stages)
            self._faults.append(InvalidInput(f"{dotted(at)} is {other}, which is no stage.", hint=hint, where=where))

    def _raise_faults(self) -> None:
        """Raise all faults as one. A fault of a spec file that several stages share is told once."""
        told = {str(error): error for error in self._faults}
        if told:
            first, *others = told.values()
            if not others:
                raise first
            sentences = f"{first.message} {first.hint}" if first.hint else first.message
            raise InvalidInput("\n".join([sentences, *map(str, others)]), where=first.where)


def _replace(values: Any, place: KeyPath, value: str) -> None:
    for part in place[:-1]:
        values = values[part]
    values[place[-1]] = value


def _require_made(reference: Reference, stage: str, kind: Kind, key: str) -> None:
    """Raise InvalidInput if a stage makes something else."""
    if reference.output in (MAKES[kind], *_OF_EVERY_KIND):
        return
    raise InvalidInput(
        f"{key} is {reference.text}, but stage {stage} is of kind {kind} and makes no {reference.output}.",
        hint=f"Did you mean ${{{stage}.{MAKES[kind]}}}?",
    )


def _in_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages with parents first, otherwise in the order given. Raises InvalidInput for a circle."""
    by_name = {stage.name: stage for stage in stages}
    try:
        graphlib.TopologicalSorter({stage.name: stage.parents for stage in stages}).prepare()
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))  # each one waits for the next
        told = " → ".join(circle)
        what = f"stage {circle[0]} waits for itself." if len(circle) == 2 else f"stages wait in a circle: {told}."
        raise InvalidInput(what, where=by_name[circle[0]].where) from None
    found: dict[str, Stage] = {}
    while len(found) < len(stages):
        ready = next(each for each in stages if each.name not in found and found.keys() >= set(each.parents))
        found[ready.name] = ready
    rank = {name: place for place, name in enumerate(found)}
    return tuple(
        Stage(each.name, each.spec, each.experiment, tuple(sorted(each.parents, key=rank.__getitem__)), each.where)
        for each in found.values()
    )


def _did_you_mean(word: str, stages: Iterable[str]) -> str:
    near = nearest(word, dict.fromkeys(stages, ""))
    return f"Did you mean {near}?" if near else f"The stages are {', '.join(stages)}."
