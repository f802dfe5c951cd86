"""The order of lists."""

from __future__ import annotations

import pytest

from engine.errors import InvalidInput
from engine.store import bookkeeping, experiments, facts
from engine.store.database import Store
from engine.store.ordering import NEWEST_FIRST, ordered
from engine.store.spec_values import spec_values
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord
from tests.store.conftest import make_spec


def test_pinned_ones_come_first_and_those_without_a_value_last(store: Store) -> None:
    values = {"a": 0.5, "b": None, "c": 2.0, "d": float("nan")}
    for place, (name, value) in enumerate(values.items()):
        identity = experiments.create(store, make_spec(train={"lr": 1e-3 * (4 - place)}), name=name)
        if value is not None:
            chunk = Chunk([MetricsRecord(1.0, 1, 1, {"loss": value})], 10, (), False)
            facts.ingest(store, identity, "metrics.jsonl", chunk, 0)
    found = experiments.list_experiments(store)
    specs = spec_values(store, [one.id for one in found])

    def names(key: str) -> str:
        return "".join(one.name for one in ordered(experiments.list_experiments(store), key, specs=specs))

    assert (names(NEWEST_FIRST), names("created")) == ("dcba", "abcd")
    assert (names("last.loss"), names("-loss"), names("-latest")) == ("acdb", "cadb", "cadb")
    assert (names("spec.train.lr"), names("-name")) == ("dcba", "dcba")
    bookkeeping.pin(store, "sft-0002")
    assert (names("loss"), names("name")) == ("bacd", "bacd")
    with pytest.raises(InvalidInput, match="cannot sort by lost\\. Did you mean loss\\?"):
        names("lost")
