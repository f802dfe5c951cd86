"""What is to be launched, as the form holds it: where it began, and the settings over that, in the words of `--set`."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput
from engine.spec.document import Document
from engine.spec.fields import Section
from tui.form.fields import Field, complete, fields_of
from tui.form.launch_fields import LaunchFields
from tui.form.launches import Request
from tui.form.values import yaml_of

if TYPE_CHECKING:
    from engine.dispatch.cloning import Clone
    from engine.spec.models import AnySpec


class Draft(ABC):
    """A launch that is being written. Its fields are those of the launch itself, then those of the spec."""

    title: str
    source: str  # what errors call it

    def __init__(self, launch: LaunchFields) -> None:
        self.launch = launch
        self.settings: dict[str, str] = {}  # YAML by key, in the order in which they were set
        self._fields: tuple[Field, ...] | None = None

    @abstractmethod
    def _sections(self) -> Iterator[Field]:
        """Yield the fields of the spec."""

    @abstractmethod
    def faults(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return what is wrong with the spec with these settings, by key; changes nothing, so that a thread may ask."""

    @property
    def fields(self) -> Sequence[Field]:
        """All fields, with their values now."""
        if self._fields is None:
            self._fields = (*self.launch.fields(), *self._sections())
        return self._fields

    @property
    def changes(self) -> int:
        """How many fields have another value than to begin with."""
        return sum(field.changed for field in self.fields)

    def field(self, key: str) -> Field | None:
        """Return one field."""
        return next((field for field in self.fields if field.key == key), None)

    def set(self, field: Field, text: str) -> None:
        """Give a field the value that was typed."""
        self._fields = None
        if self.launch.set(field.key, text):
            return
        self._forget(field.key)
        self.settings[field.key] = yaml_of(field, text)
        after = self.field(field.key)
        if after is None or after.changed:
            return
        # What says nothing new is no setting, unless it takes back a part of another one.
        without = self.settings.pop(field.key)
        self._fields = None
        left = self.field(field.key)
        if left is None or left.value != after.value:
            self.settings[field.key] = without
            self._fields = None

    def reset(self, field: Field) -> None:
        """Give a field, and those below it, the value that it began with."""
        self._fields = None
        if not self.launch.reset(field.key):
            self._forget(field.key)

    @abstractmethod
    def request(self) -> Request:
        """Return what is asked for."""

    @abstractmethod
    def spec_for(self, key: str) -> tuple[AnySpec, str]:
        """Return the spec that a field belongs to, its paths absolute, and the key there. Raises InvalidInput."""

    def remember(self) -> Callable[[], None]:
        """Return what brings everything back to how it is now."""
        settings, launch = dict(self.settings), self.launch.remember()

        def restore() -> None:
            self.settings, self._fields = dict(settings), None
            launch()

        return restore

    def _request(self, **more: Any) -> Request:
        overrides = tuple(f"{key}={value}" for key, value in self.settings.items())
        return self.launch.request(overrides=overrides, **more)

    def _forget(self, key: str) -> None:
        for known in [known for known in self.settings if known == key or known.startswith(f"{key}.")]:
            del self.settings[known]


class SpecDraft(Draft):
    """One experiment: of a recipe, a clone of another one, or from nothing but its kind."""

    def __init__(
        self,
        document: Document,
        section: type[Section],
        launch: LaunchFields,
        *,
        title: str,
        recipe: Path | None = None,
        clone: str | None = None,
        kind: str | None = None,
        on_nodes: Collection[str] = (),
    ) -> None:
        """document: as it was read. section: the type of its kind. on_nodes: paths in it that are of other machines."""
        super().__init__(launch)
        self.title = title
        self.source = clone or (f"a new {kind} run" if recipe is None else str(recipe))
        self.recipe, self.clone, self.kind, self._on_nodes = recipe, clone, kind, frozenset(on_nodes)
        self._document, self._section = document, section
        self._base = complete(section, document.values)

    @property
    def folder(self) -> Path:
        """The folder that its relative paths are relative to."""
        return self.recipe.resolve().parent if self.recipe is not None else Path.cwd()

    def _sections(self) -> Iterator[Field]:
        now = complete(self._section, written(self._document, self.settings).values)
        return fields_of(self._section, now, self._base, is_top=True)

    def faults(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return what is wrong with the spec, by key."""
        from engine.spec.loading import faults_of

        found = broken(self._document, settings)
        document = written(self._document, {key: text for key, text in settings.items() if key not in found})
        return {fault.key: fault.sentences for fault in faults_of(document)[1]} | found

    def request(self) -> Request:
        """Return what is asked for."""
        return self._request(recipe=self.recipe, clone=self.clone, kind=self.kind)

    def spec_for(self, key: str) -> tuple[AnySpec, str]:
        """Return the spec."""
        from engine.spec.loading import validate
        from engine.spec.resolve import with_absolute_paths

        spec = validate(written(self._document, self.settings))
        return with_absolute_paths(spec, self.folder, but=self._on_nodes), key


def written(document: Document, settings: Mapping[str, str]) -> Document:
    """Return a document with settings over it; one that is no YAML stands in it as the text that it is."""
    found = Document(copy.deepcopy(document.values), dict(document.places))
    for key, text in settings.items():
        try:
            found.override(f"{key}={text}")
        except InvalidInput:
            try:
                found.put(tuple(key.split(".")), text, {(): key})
            except InvalidInput:  # it leads through what is no section
                continue
    return found


def broken(document: Document, settings: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with settings that are no YAML, or lead nowhere, by key."""
    trial = Document(copy.deepcopy(document.values), dict(document.places))
    found = {}
    for key, text in settings.items():
        try:
            trial.override(f"{key}={text}")
        except InvalidInput as error:
            found[key] = f"{error.message} {error.hint or ''}".strip()
    return found


def of_recipe(path: Path, hostfiles: Sequence[Path | None]) -> Draft:
    """Return what begins with a recipe, or a pipeline. Raises InvalidInput when it cannot be read."""
    from engine.spec.loading import is_pipeline, kind_of, read_document
    from engine.spec.models import SPEC_TYPES
    from tui.form.pipeline_draft import PipelineDraft

    document = read_document(path)
    launch = LaunchFields(hostfiles)
    if is_pipeline(document):
        return PipelineDraft(path, launch)
    kind = kind_of(document)
    name = document.values.get("name")
    launch.default_name = name if isinstance(name, str) else ""
    return SpecDraft(document, SPEC_TYPES[kind], launch, title=f"New {kind} run", recipe=path)


def of_kind(kind: str, hostfiles: Sequence[Path | None]) -> Draft:
    """Return what begins with nothing but its kind: all else is as its types say, or still to be given."""
    from engine.spec import loading
    from engine.spec.models import SPEC_TYPES, Kind

    launch = LaunchFields(hostfiles)
    return SpecDraft(
        loading.empty_document(kind), SPEC_TYPES[Kind(kind)], launch, title=f"New {kind} run, from nothing", kind=kind
    )


def of_clone(clone: Clone, hostfiles: Sequence[Path | None]) -> SpecDraft:
    """Return what begins as an experiment did."""
    from engine.spec.loading import kind_of
    from engine.spec.models import SPEC_TYPES

    document = Document.read(clone.text, clone.id)
    kind = kind_of(document)
    as_before = [None, *(each for each in hostfiles if each is not None)]
    name = document.values.get("name")
    launch = LaunchFields(
        as_before,
        default_name=name if isinstance(name, str) else "",
        here=f"where {clone.id} ran" if clone.hosts is not None else None,
    )
    title = f"New {kind} run, as {clone.id}"
    return SpecDraft(document, SPEC_TYPES[kind], launch, title=title, clone=clone.id, on_nodes=clone.paths)
