"""Which experiments a filter leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.store.experiments import Experiment

_KEYS = ("id", "name", "kind", "state", "tag")


def select(experiments: Sequence[Experiment], text: str) -> Sequence[Experiment]:
    """Return those for which all words of the text hold.

    A word holds when it stands somewhere in id, name, kind, state or a tag; `state:run` looks in one of them; a
    leading `-` turns a word round. Case does not count.
    """
    words = text.lower().split()
    return [experiment for experiment in experiments if _holds(experiment, words)] if words else experiments


def _holds(experiment: Experiment, words: Sequence[str]) -> bool:
    fields = {
        "id": [experiment.id],
        "name": [experiment.name],
        "kind": [experiment.kind],
        "state": [experiment.state.value],
        "tag": list(experiment.tags),
    }
    return all(_found(fields, word.removeprefix("-")) != (word.startswith("-") and len(word) > 1) for word in words)


def _found(fields: dict[str, list[str]], word: str) -> bool:
    key, colon, value = word.partition(":")
    places = fields[key] if colon and key in _KEYS else [text for texts in fields.values() for text in texts]
    return any((value if colon and key in _KEYS else word) in text.lower() for text in places)
