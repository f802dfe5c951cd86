"""Which experiments a filter expression selects."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine.store.experiments import Experiment

KEYS = ("id", "kind", "name", "state", "tag")


def matches(experiment: Experiment, expression: str) -> bool:
    """Whether all terms hold: `key:value`, `-key:value`, or a word of id, name or tags.

    Raises InvalidInput for an unknown key.
    """
    return all(_matches_term(experiment, term.removeprefix("-")) != term.startswith("-") for term in expression.split())


def _matches_term(experiment: Experiment, term: str) -> bool:
    key, colon, value = term.partition(":")
    if not colon:
        return any(term.lower() in text.lower() for text in (experiment.id, experiment.name, *experiment.tags))
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        raise InvalidInput(
            f"unknown filter key {key}.", hint=f"Did you mean {near[0]}?" if near else f"Keys: {', '.join(KEYS)}."
        )
    if key == "tag":
        return value in experiment.tags
    if key in ("id", "name"):
        return value.lower() in str(getattr(experiment, key)).lower()
    return bool(getattr(experiment, key) == value)
