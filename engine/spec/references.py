"""References: `${facts-sft.model}` in place of a path means what another experiment made.

`${NAME.model}`, `${NAME.reward_model}`, `${NAME.policy}`, or any other kind of artifact; `${NAME.artifact}` is the only
one that it has, `${NAME.run}` its run directory. A path below may follow: `${NAME.run}/tokenizer`. NAME is a name or an
id. What they stand for is known where the database is; a job is given paths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.errors import InvalidInput, Refused
from engine.spec.models import AnySpec
from engine.spec.resolve import is_reference, paths_by_key, visited

_FORM = re.compile(r"\$\{(?P<name>[^{}]+)\.(?P<output>[a-z][a-z0-9_]*)\}(?:/(?P<below>.+)|/?)")


@dataclass(frozen=True, slots=True)
class Reference:
    """An output of an experiment."""

    text: str  # as it stands in the spec
    name: str  # or id
    output: str  # a kind of artifact, "artifact" or "run"
    below: str  # path below it; empty: itself

    @property
    def is_any(self) -> bool:
        """Whether it means the only artifact, of whatever kind."""
        return self.output == "artifact"

    @property
    def is_run(self) -> bool:
        """Whether it means the run directory."""
        return self.output == "run"

    def of(self, identity: str) -> str:
        """Return the reference to the same output of the one experiment with this id."""
        return f"${{{identity}.{self.output}}}" + (f"/{self.below}" if self.below else "")


def parse(text: str, key: str) -> Reference:
    """Return the reference that a text is. key: where it stands. Raises InvalidInput if it is none."""
    form = _FORM.fullmatch(text)
    if form is None or ".." in (form["below"] or "").split("/"):
        raise InvalidInput(
            f"{key} is {text}, which is no reference.",
            hint="Write ${NAME.model}, with a PATH below it behind the bracket if need be: ${NAME.run}/PATH.",
        )
    return Reference(text, form["name"], form["output"], form["below"] or "")


def references_of(spec: AnySpec) -> dict[str, Reference]:
    """Return the references of a spec by their dotted keys.

    Raises:
        InvalidInput: if one is not of the form that they have.
    """
    return {key: parse(text, key) for key, text in paths_by_key(spec).items() if is_reference(text)}


def with_paths(spec: AnySpec, paths: Mapping[str, str]) -> AnySpec:
    """Return the spec with other texts for some of its paths: what references mean, by their text, or the reverse."""
    return visited(spec, lambda path: paths.get(path, path))


def require_none(spec: AnySpec, where: str) -> None:
    """Raise Refused if the spec has references: there is no database to look them up in."""
    for key, reference in references_of(spec).items():
        raise Refused(
            f"{key} is {reference.text}, which only engine launch can look up: it is in the database of experiments.",
            hint=f"Give the folder itself: --set {key}=FOLDER.",
            where=where,
        )
