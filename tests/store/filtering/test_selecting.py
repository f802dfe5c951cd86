"""Which experiments a filter leaves."""

from __future__ import annotations

import pytest

from engine.store import attempts, bookkeeping, experiments, facts
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.store.filtering.language import InvalidFilter
from engine.store.filtering.selecting import Filter, Values, select
from engine.store.spec_values import SpecValues, spec_values
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord
from engine.telemetry.states import State
from tests.store.conftest import make_spec

Known = tuple[list[Experiment], dict[str, Values]]


@pytest.fixture
def known(store: Store) -> Known:
    """base (ended), Wide (runs on n1, n2), narrow (archived)."""
    spec = {"steps": 100, "lr": 1e-6}
    base = experiments.create(store, make_spec(train=spec), name="base", tags=("best", "pipeline:facts", "stage:one"))
    wide = experiments.create(store, make_spec(train={"steps": 200, "lr": 2e-3}), name="Wide", tags=("sweep-kl",))
    narrow = experiments.create(store, make_spec(), name="narrow", parent_id=base, tags=("sweep-lr",))
    bookkeeping.set_note(store, base, "after the fix")
    bookkeeping.archive(store, narrow)
    bookkeeping.pin(store, base)
    for identity, value, step in ((base, 0.5, 100), (wide, float("nan"), 40)):
        placement = [{"host": host, "index": index} for index, host in enumerate(("n1", "n2")) if identity == wide]
        number = attempts.begin(store, identity, run_dir="/r", placement=placement).number
        for state in (State.STARTING, State.RUNNING):
            attempts.transition(store, identity, number, state)
        record = MetricsRecord(1.0, 1, step, {"loss": value})
        facts.ingest(store, identity, "metrics.jsonl", Chunk([record], 10, (), False), 0)
    attempts.transition(store, base, 1, State.SUCCEEDED)
    found = experiments.list_experiments(store, archived=True)
    return found, spec_values(store, [one.id for one in found])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "base Wide narrow"),
        ("wide", "Wide"),
        ("FIX", "base"),
        ("sft-0002 or narrow", "Wide narrow"),
        ("sweep queued", "narrow"),
        ("state:run", "Wide"),
        ("state=run|queued", None),
        ("state!=running kind:sft", "base narrow"),
        ("tag:sweep", ""),
        ("tag:sweep-*", "Wide narrow"),
        ("tag~lr", "narrow"),
        ("tag!=best", "Wide narrow"),
        ("-tag:*", ""),
        ("note:fix", "base"),
        ("-note~fix -name:w", ""),
        ("host:N2", "Wide"),
        ("stage:one", "base"),
        ("stage:sft pipeline:facts", "base"),
        ("parent:sft-0001", "narrow"),
        ("archived:yes", "narrow"),
        ("pinned:yes", "base"),
        ("archived!=yes pinned:no", "Wide"),
        ("last.loss<1", "base"),
        ("last.loss", "base Wide"),
        ("-last.loss<1", "Wide narrow"),
        ("step>=40", "base Wide"),
        ("nodes>1", "Wide"),
        ("age<1h", "base Wide narrow"),
        ("age>5w", ""),
        ("took>=0s", "base Wide"),
        ("cfg.lr=0.000001", "base"),
        ("spec.train.lr<=1e-6 spec.steps<150", "base"),
        ("spec.data.train~FACTS", "base Wide narrow"),
        ("spec.train.lr=abc", ""),
        ("spec.train.lr!=1e-6", "Wide narrow"),
        ("spec.data.eval", ""),
        ("spec.eval:none", "base Wide narrow"),
    ],
)
def test_a_filter_leaves_these(known: Known, text: str, names: str | None) -> None:
    found, specs = known
    if names is None:
        with pytest.raises(InvalidFilter, match="there is no state run"):
            select(found, text, specs)
    else:
        assert {one.name for one in select(found, text, specs)} == set(names.split())


def test_the_order_stays(known: Known) -> None:
    found, _ = known
    assert list(select(found, "sft")) == found


def test_a_key_of_no_spec_and_a_metric_of_no_run_name_the_nearest(known: Known) -> None:
    found, specs = known
    for text, sentence in {
        "cfg.learning.lr>0": "no spec has the key learning.lr",
        "spec.trian.lr": r"Did you mean train\.lr\?",
        "spec.stepz": r"Did you mean train\.steps\?",
        "last.los>1": r"there is no metric los\. Did you mean loss\?",
    }.items():
        with pytest.raises(InvalidFilter, match=sentence):
            select(found, text, specs)
    assert select(found, "last.score>1") == []  # known, though no run here has it


def test_a_filter_says_what_it_needs() -> None:
    assert Filter("a -cfg.lr").uses_specs and not Filter("last.loss kind:sft").uses_specs
    assert Filter("a or -archived:no").tells_archived and not Filter("a").tells_archived


def test_values_of_specs_are_read_again_only_when_a_spec_may_have_changed(store: Store) -> None:
    identity = experiments.create(store, make_spec(train={"steps": 10}))
    reader = SpecValues(store)
    first = reader.of(experiments.list_experiments(store))
    assert first[identity]["train.steps"] == 10
    assert reader.of(experiments.list_experiments(store)) is first
    experiments.set_state(store, identity, State.STOPPED)
    experiments.resume(store, identity, make_spec(train={"steps": 20}))
    assert reader.of(experiments.list_experiments(store))[identity]["train.steps"] == 20
