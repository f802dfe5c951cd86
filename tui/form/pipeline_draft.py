"""The launch of a pipeline, as the form holds it: which of its stages are launched, and the keys of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput
from engine.spec.document import Document
from engine.spec.keys import listing
from engine.spec.models import SPEC_TYPES
from engine.spec.pipeline import load_pipeline
from tui.form.draft import Draft, broken, written
from tui.form.fields import Field, Shape, complete, fields_of
from tui.form.launch_fields import LaunchFields
from tui.form.launches import Request

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.spec.pipeline import Stage

_LAUNCHED = "--skip "  # before the name of a stage: the key of the field that says whether it is launched
_SETTING = re.compile(r"(?:^|\n)--set ([^=\s]+)=[^\n]*?: (.*)")


class PipelineDraft(Draft):
    """All stages of a pipeline file."""

    def __init__(self, path: Path, launch: LaunchFields) -> None:
        """Raises InvalidInput when the file is no valid pipeline."""
        super().__init__(launch)
        self.path, self.source = path, str(path)
        self._pipeline = load_pipeline(path)
        launch.default_name = self._pipeline.name
        self.title = f"Pipeline {self._pipeline.name}"
        self.skipped: set[str] = set()
        self._documents = {
            stage.name: Document(stage.spec.model_dump(mode="json"), {(): stage.where})
            for stage in self._pipeline.stages
            if stage.spec is not None
        }

    def set(self, field: Field, text: str) -> None:
        """Give a field the value that was typed."""
        if not field.key.startswith(_LAUNCHED):
            super().set(field, text)
            return
        self._fields = None
        name = field.key.removeprefix(_LAUNCHED)
        (self.skipped.discard if text == "true" else self.skipped.add)(name)

    def reset(self, field: Field) -> None:
        """Give a field the value that it began with."""
        self.skipped.discard(field.key.removeprefix(_LAUNCHED))
        super().reset(field)

    def faults(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return what is wrong with settings, by key."""
        found: dict[str, str] = {}
        for name, document in self._documents.items():
            faulty = broken(document, _below(settings, name))
            found |= {f"{name}.{key}": sentence for key, sentence in faulty.items()}
        try:
            load_pipeline(self.path, [f"{key}={text}" for key, text in settings.items() if key not in found])
        except InvalidInput as error:
            found = dict(_SETTING.findall(str(error))) | found
        return found

    def request(self) -> Request:
        """Return what is asked for."""
        return self._request(recipe=self.path, skip=tuple(sorted(self.skipped)))

    def spec_for(self, key: str) -> tuple[AnySpec, str]:
        """Return the spec of the stage that a key belongs to."""
        name, _, below = key.partition(".")
        pipeline = load_pipeline(self.path, [f"{each}={text}" for each, text in self.settings.items()])
        found = next((stage.spec for stage in pipeline.stages if stage.name == name and stage.spec is not None), None)
        if found is None:
            raise InvalidInput("put the cursor on a stage, or on a path of one.")
        return found, below

    def remember(self) -> Callable[[], None]:
        """Return what brings everything back to how it is now."""
        skipped, rest = set(self.skipped), super().remember()

        def restore() -> None:
            self.skipped = set(skipped)
            rest()

        return restore

    def _sections(self) -> Iterator[Field]:
        for stage in self._pipeline.stages:
            yield Field(stage.name, stage.name, 0, Shape.HEADING, self._about(stage), note=self._about(stage))
            if stage.spec is None:
                continue
            is_launched = stage.name not in self.skipped
            about = "whether it is launched; for one that is not, an earlier run stands"
            yield Field(f"{_LAUNCHED}{stage.name}", "launch it", 1, Shape.TRUTH, about, value=is_launched, base=True)
            section = SPEC_TYPES[stage.spec.kind]
            before: Any = self._documents[stage.name]
            now = written(before, _below(self.settings, stage.name))
            yield from fields_of(
                section,
                complete(section, now.values),
                complete(section, before.values),
                f"{stage.name}.",
                1,
                is_top=True,
            )

    def _about(self, stage: Stage) -> str:
        if stage.spec is None:
            return f"is {stage.experiment}"
        if stage.name in self.skipped:
            return f"{stage.spec.kind}, not launched: an earlier run stands for it"
        return stage.spec.kind + (f", after {listing(stage.parents, 'and')}" if stage.parents else "")


def _below(settings: Mapping[str, str], stage: str) -> dict[str, str]:
    """Return the settings of one stage, by its own keys."""
    prefix = f"{stage}."
    return {key.removeprefix(prefix): text for key, text in settings.items() if key.startswith(prefix)}
