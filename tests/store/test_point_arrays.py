"""Points as arrays are the points that `series.read` gives, from wherever the caller goes on."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from engine.store import attempts, experiments, facts, series
from engine.store.database import Store
from engine.store.point_arrays import PointArrays, between, fresh, newest
from engine.telemetry.reader import Chunk
from engine.telemetry.records import METRICS_FILE, MetricsRecord, Record, StartRecord
from engine.telemetry.states import State
from tests.store.conftest import make_spec


class Written:
    """An experiment that is written step by step."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "experiments.db")
        self.identity = experiments.create(self.store, make_spec())
        self._offset = 0

    def launch(self, resumed: int) -> int:
        """Begin an attempt, after the one before was lost."""
        found = attempts.list_attempts(self.store, self.identity)
        if found:
            attempts.transition(self.store, self.identity, found[-1].number, State.LOST)
            experiments.resume(self.store, self.identity)
        number = attempts.begin(self.store, self.identity, run_dir="/runs", placement=[]).number
        for state in (State.STARTING, State.RUNNING):
            attempts.transition(self.store, self.identity, number, state)
        self.ingest([StartRecord(time.time(), number, resumed, 100)])
        return number

    def log(self, attempt: int, steps: range, **values: float) -> None:
        """Log these steps."""
        self.ingest([MetricsRecord(100.0 * attempt + step, attempt, step, values | {"at": step}) for step in steps])

    def ingest(self, records: list[Record]) -> None:
        """Bring facts in."""
        chunk = Chunk(records, self._offset + len(records), (), False)
        assert facts.ingest(self.store, self.identity, METRICS_FILE, chunk, self._offset)
        self._offset = chunk.offset

    def agrees(self, known: dict[str, tuple[int, int]]) -> dict[str, PointArrays]:
        """Hold what is fresh against what `series.read` gives, and return it."""
        found = dict(fresh(self.store, self.identity, known))
        for info in series.names(self.store, self.identity):
            expected = series.read(self.store, self.identity, info.name, after=known.get(info.name))
            if not expected.step:
                assert info.name not in found
                continue
            for field in ("attempt", "step", "time", "value"):
                np.testing.assert_array_equal(getattr(found[info.name], field), getattr(expected, field))
        return found


def test_what_is_fresh_is_what_comes_after_in_the_lineage(tmp_path: Path) -> None:
    run = Written(tmp_path)
    assert run.agrees({}) == {}
    first = run.launch(0)
    run.log(first, range(1, 21), loss=math.nan, kl=math.inf)
    found = run.agrees({})
    assert np.isnan(found["loss"].value).all() and np.isposinf(found["kl"].value).all() and found["at"].step.size == 20
    run.log(first, range(21, 31), loss=1.0)
    at_20 = dict.fromkeys(("loss", "at", "kl"), (first, 20))
    assert set(run.agrees(at_20)) == {"loss", "at"}
    second = run.launch(25)
    run.log(second, range(26, 29), loss=2.0)
    for known in ({}, at_20, {"loss": (first, 25)}, {"loss": (second, 27), "at": (second, 28)}):
        run.agrees(known)
    assert set(dict(fresh(run.store, run.identity, {}, {"loss"}))) == {"loss"}
    run.store.close()


def test_a_part_is_what_stands_between_two_steps_of_what_counts(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.log(written.launch(0), range(1, 31), loss=1.0)
    written.log(written.launch(20), range(21, 41), loss=2.0)
    ranges = {"loss": (15, 25), "at": (1, 3), "none": (0, 9)}
    found = dict(between(written.store, written.identity, ranges))
    assert found.keys() == {"loss", "at"} and found["at"].value.tolist() == [1, 2, 3]
    assert found["loss"].step.tolist() == list(range(15, 26)) and found["loss"].attempt.tolist() == [1] * 6 + [2] * 5
    assert found["loss"].value.tolist() == [1.0] * 6 + [2.0] * 5
    assert dict(between(written.store, written.identity, {"loss": (50, 60)}))["loss"].step.size == 0


def test_of_some_series_all_is_read_and_of_others_the_end_unless_it_is_no_number(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.log(written.launch(0), range(1, 31), loss=1.0, lr=0.5, bad=1.0, worse=math.nan, never=math.nan)
    written.log(written.launch(20), range(21, 41), loss=2.0, lr=0.25, bad=math.nan, worse=math.inf)
    whole = dict(fresh(written.store, written.identity, {}))
    for count in (1, 7, 25, 100):
        found = dict(newest(written.store, written.identity, {"loss"}, count))
        assert found.keys() == whole.keys()
        for name, points in found.items():
            last = -count if name in ("lr", "at") else 0
            for field in ("attempt", "step", "time", "value"):
                np.testing.assert_array_equal(getattr(points, field), getattr(whole[name], field)[last:])
    written.store.close()
