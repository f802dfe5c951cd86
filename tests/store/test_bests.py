"""The best values of metrics: by their direction, without what was superseded, in filters and orders."""

from __future__ import annotations

import math

import pytest

from engine.errors import InvalidInput
from engine.store import attempts, experiments, facts
from engine.store.bests import Bests, bests
from engine.store.database import Store
from engine.store.filtering.completion import Vocabulary, complete
from engine.store.filtering.keys import best_metrics
from engine.store.filtering.language import InvalidFilter
from engine.store.filtering.selecting import select
from engine.store.ordering import ordered
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord, StartRecord
from engine.telemetry.states import State
from tests.store.conftest import create


def log(store: Store, identity: str, attempt: int, values: dict[int, float], *, name: str = "eval_loss") -> None:
    """Log a metric by step, behind what was logged before."""
    at = facts.cursor(store, identity, "metrics.jsonl")
    records = [MetricsRecord(float(step), attempt, step, {name: value}) for step, value in values.items()]
    assert facts.ingest(store, identity, "metrics.jsonl", Chunk(tuple(records), at + 10, (), False), at)


@pytest.fixture
def three(store: Store) -> list[str]:
    """One whose least loss is 1.5, one that resumed at step 20, past which it once had 0.1, and one without any."""
    one, resumed, none = (create(store, name) for name in ("one", "resumed", "none"))
    log(store, one, 1, {10: 3.0, 20: 1.5, 30: 2.0, 40: math.nan, 50: -math.inf, 60: 2.5})
    for number in (1, 2):
        attempts.begin(store, resumed, run_dir="/r", placement=[{"host": "n", "index": 0}])
        for state in (State.STARTING, State.RUNNING):
            attempts.transition(store, resumed, number, state)
        if number == 1:
            log(store, resumed, 1, {10: 4.0, 20: 2.2, 30: 0.1})
            attempts.transition(store, resumed, 1, State.STOPPED)
            experiments.resume(store, resumed)
    at = facts.cursor(store, resumed, "metrics.jsonl")
    start = StartRecord(1.0, 2, 20, 100)
    assert facts.ingest(store, resumed, "metrics.jsonl", Chunk((start,), at + 10, (), False), at)
    log(store, resumed, 2, {30: 2.4})
    return [one, resumed, none]


def test_the_best_is_the_least_or_the_most_of_what_counts(store: Store, three: list[str]) -> None:
    one, resumed, _ = three
    assert bests(store, three, "eval_loss") == {one: 1.5, resumed: 2.2}
    log(store, one, 1, {10: 0.5, 20: 0.75, 30: 0.25}, name="score")
    assert bests(store, three, "score") == {one: 0.75}


def test_filters_and_orders_ask_for_it_and_only_what_moved_is_read_again(store: Store, three: list[str]) -> None:
    reader = Bests(store)

    def left(expression: str, sort: str = "id") -> list[str]:
        found = reader.into(experiments.list_experiments(store), best_metrics(expression, sort))
        return [one.name for one in ordered(select(found, expression), sort)]

    assert left("best.eval_loss<2") == ["one"]
    assert left("-best.eval_loss<2") == ["resumed", "none"]
    assert left("best.eval_loss", "-best.eval_loss") == ["resumed", "one"]
    assert left("", "best.eval_loss") == ["one", "resumed", "none"]
    log(store, three[1], 2, {40: 1.25})
    log(store, three[0], 1, {10: 0.5}, name="entropy")
    assert left("best.eval_loss<=125%", "best.eval_loss") == ["resumed"]
    with pytest.raises(InvalidFilter, match="whether more or less of kl is better is not known"):
        left("best.kl<3")
    with pytest.raises(InvalidFilter, match="there is no metric eval_los"):
        left("best.eval_los")
    with pytest.raises(InvalidInput, match="whether more or less of entropy"):
        left("", "best.entropy")


def test_a_filter_that_is_typed_is_completed_with_metrics_that_have_a_better(store: Store, three: list[str]) -> None:
    log(store, three[0], 1, {10: 0.5}, name="kl")
    vocabulary = Vocabulary(experiments.list_experiments(store))
    assert [one.text for one in complete("be", 2, vocabulary)] == ["best."]
    assert [one.text for one in complete("-(best.", 7, vocabulary)] == ["best.eval_loss"]
