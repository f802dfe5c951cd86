"""The answers of a multiple-choice question, as its row has them.

| columns | what they hold |
|---|---|
| `choices`, `correct` | texts; which of them are right: their places from 0, or their texts, one or a list |
| `mc1_targets`, `mc2_targets` | TruthfulQA's: `choices` and `labels` (1 is right), or labels by text |
| `right_answer`, `hallucinated_answer` | HaluEval's: one text each |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

Labelled = dict[str, bool]  # whether each text is right


@dataclass(frozen=True, slots=True)
class Choices:
    """The answers between which a model is to choose; at least one right and one wrong."""

    best: str  # a right one
    wrong_beside_best: tuple[str, ...]  # those that MC1 holds it against
    right: tuple[str, ...]
    wrong: tuple[str, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return what JSON has of it."""
        beside, right, wrong = (tuple(record[key]) for key in ("wrong_beside_best", "right", "wrong"))
        return cls(record["best"], beside, right, wrong)

    @property
    def texts(self) -> tuple[str, ...]:
        """All answers, each once, the right ones first."""
        return tuple(dict.fromkeys((*self.right, *self.wrong, self.best, *self.wrong_beside_best)))

    def is_right(self, text: str) -> bool:
        """Whether an answer is right."""
        return text in self.right or text == self.best


def choices_of(columns: Mapping[str, Any]) -> Choices:
    """Return the choices of a row.

    Raises:
        ValueError: if it has none of a known form; the message completes the sentence `the row …`.
    """
    if "mc1_targets" in columns or "mc2_targets" in columns:
        first = _targets(columns, "mc1_targets" if columns.get("mc1_targets") is not None else "mc2_targets")
        second = _targets(columns, "mc2_targets" if columns.get("mc2_targets") is not None else "mc1_targets")
        return _choices(first, second)
    if "choices" in columns:
        labelled = _listed(columns)
    elif "hallucinated_answer" in columns:
        labelled = _labelled(
            [columns.get("right_answer"), columns["hallucinated_answer"]], [True, False], "right_answer"
        )
    else:
        raise ValueError("has no choices, mc1_targets or hallucinated_answer")
    return _choices(labelled, labelled)


def _choices(first: Labelled, second: Labelled) -> Choices:
    for labelled in (first, second):
        if all(labelled.values()) or not any(labelled.values()):
            raise ValueError("has choices that are all right or all wrong")
    right, wrong = _parted(second)
    best, beside = _parted(first)
    return Choices(best[0], beside, right, wrong)


def _parted(labelled: Labelled) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        tuple(text for text, right in labelled.items() if right),
        tuple(text for text, right in labelled.items() if not right),
    )


def _targets(columns: Mapping[str, Any], key: str) -> Labelled:
    targets = columns[key]
    if isinstance(targets, Mapping):
        if isinstance(targets.get("choices"), list) and isinstance(targets.get("labels"), list):
            return _labelled(targets["choices"], targets["labels"], key)
        return _labelled(list(targets), list(targets.values()), key)
    raise ValueError(f"has {key} that are no choices with labels")


def _labelled(texts: Sequence[Any], labels: Sequence[Any], key: str) -> Labelled:
    if len(texts) != len(labels) or not all(label in (0, 1) for label in labels):
        raise ValueError(f"has {key} whose labels are not a 0 or 1 for each choice")
    found: Labelled = {}
    for text, label in zip(texts, labels, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"has a choice in {key} that is no text")
        if found.setdefault(text, bool(label)) != bool(label):
            raise ValueError(f"has the choice {text!r} as right and as wrong")
    return found


def _listed(columns: Mapping[str, Any]) -> Labelled:
    texts, correct = columns["choices"], columns.get("correct")
    if not isinstance(texts, list) or correct is None:
        raise ValueError("has choices that are no list, or no word in correct on which are right")
    wanted = correct if isinstance(correct, list) else [correct]
    for one in wanted:
        known = one in texts if isinstance(one, str) else type(one) is int and 0 <= one < len(texts)
        if not known:
            raise ValueError(f"has {one!r} in correct, which is no choice")
    return _labelled(texts, [place in wanted or text in wanted for place, text in enumerate(texts)], "choices")
