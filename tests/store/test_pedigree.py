"""Relatives at any remove, each told whole once; and verdicts read from the tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments
from engine.store.database import Store
from engine.store.inputs import Input
from engine.store.pedigree import Relative, pedigree
from engine.store.verdicts import rank_marks, read_verdicts
from engine.telemetry.health_observed import RankMark
from tests.store.test_point_arrays import Written

SPEC = "kind: sft\nmodel: {architecture: {layers: 2}, tokenizer: {}}\ndata: {train: facts.jsonl}\n"


def shape(relatives: tuple[Relative, ...]) -> list[object]:
    return [(one.id, one.how, one.repeated, shape(one.further)) for one in relatives]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "experiments.db")


def test_two_ways_to_one_origin_are_both_told_and_it_is_whole_once(store: Store) -> None:
    def add(*parents: str, **more: object) -> str:
        inputs = [Input("${x.model}", f"/{parent}/export", parent, "model", None, None) for parent in parents]
        return experiments.create(store, parse_spec(SPEC), inputs=inputs, **more)  # type: ignore[arg-type]

    first = add()
    left, right = add(first), add(first, parent_id=first)
    both = add(left, right, after=[right])
    waits = add(after=[both])
    found = pedigree(store, both)
    assert shape(found.origins) == [
        (left, "model", False, [(first, "model", False, [])]),
        (right, "model", False, [(first, "model, its settings", True, [])]),
    ]
    assert shape(found.outcomes) == [(waits, "its turn", False, [])]
    assert [one.id for one in pedigree(store, first).outcomes] == [left, right]
    assert pedigree(store, add()) == pedigree(store, add())
    with pytest.raises(NotFound):
        pedigree(store, "sft-9999")


def test_the_marks_of_ranks_are_those_of_nodes_that_report(store: Store) -> None:
    identity = experiments.create(store, parse_spec(SPEC))
    attempts.begin(store, identity, run_dir="/x", placement=[])
    for node, heard in ((0, 995.0), (1, 900.0)):
        ranks = {str(node): {"step": 7, "phase": "step", "ago": 2.0}, "9": {"step": None, "ago": None}}
        attempts.hear(store, identity, 1, node, f"n{node}", heard_at=heard, message=None, pulse={"ranks": ranks})
    assert rank_marks(attempts.contacts(store, identity), 1000.0) == [RankMark(0, "n0", 7, "step", 7.0)]
    assert read_verdicts(store, identity, 1000.0) == []


def test_a_series_that_no_rule_names_is_told_since_the_step_at_which_it_was_no_number(tmp_path: Path) -> None:
    written = Written(tmp_path)
    attempt = written.launch(0)
    written.log(attempt, range(1, 301), loss=1.0, value_loss=2.0)
    written.log(attempt, range(301, 501), loss=1.0, value_loss=math.nan)
    (verdict,) = read_verdicts(written.store, written.identity, 1000.0)
    assert (verdict.rule, verdict.step) == ("not_finite", 301) and "value_loss" in verdict.sentence
