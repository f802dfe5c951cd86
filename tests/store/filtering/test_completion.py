"""What may come next in a filter."""

from __future__ import annotations

import pytest

from engine.store import experiments
from engine.store.database import Store
from engine.store.filtering.completion import Vocabulary, complete
from engine.store.spec_values import spec_values
from tests.store.conftest import make_spec


@pytest.fixture
def vocabulary(store: Store) -> Vocabulary:
    for tags in (("base", "kl 6"), ("broken", "base")):
        experiments.create(store, make_spec(train={"lr": 2e-3}), tags=tags)
    found = experiments.list_experiments(store)
    return Vocabulary(found, spec_values(store, [one.id for one in found]))


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("ki", ["kind:"]),
        ("a -(sta", ["a -(state:", "a -(stage:"]),
        ("xyz", []),
        ("st", ["state:", "stage:", "step>", "steps>"]),
        ("ag", ["age<"]),
        ("state:f", ["state:failed"]),
        ("state:failed|lo", ["state:failed|lost"]),
        ("-tag:", ["-tag:base", "-tag:broken", '-tag:"kl 6"']),
        ('tag:"k', ['tag:"kl 6"']),
        ("archived:", ["archived:yes", "archived:no"]),
        ("la", ["last."]),
        ("spec.train.lr", []),
        ("cfg.warm", ["cfg.train.schedule.warmup_steps"]),
        ("cfg.train.lr<", ["cfg.train.lr<0.002"]),
        ("step>", []),
        ("nothing:", []),
    ],
)
def test_completions_of_what_stands_before_the_cursor(vocabulary: Vocabulary, line: str, lines: list[str]) -> None:
    found = [completion.into(line, len(line))[0] for completion in complete(line, len(line), vocabulary)]
    assert found == lines


def test_what_stands_behind_the_cursor_stays(vocabulary: Vocabulary) -> None:
    first = complete("sta x", 3, vocabulary)[0]
    assert first.into("sta x", 3) == ("state: x", 6)
    assert len(complete("", 0, vocabulary)) > 20
