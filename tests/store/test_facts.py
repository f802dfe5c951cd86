"""Facts come in once, whatever happens on the way; what a later attempt superseded is not read."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.store import attempts, events, experiments, facts, maintenance, series
from engine.store.database import Store
from engine.store.samples import list_samples
from engine.telemetry.reader import Chunk, read_chunk
from engine.telemetry.records import (
    EVENTS_FILE,
    METRICS_FILE,
    SAMPLES_FILE,
    EventRecord,
    MetricsRecord,
    Record,
    SampleRecord,
    StartRecord,
    encode,
)
from engine.telemetry.states import State
from tests.store.conftest import Spawn, make_spec


def create(store: Store, launches: int = 1) -> str:
    """An experiment with attempts 1, 2, … that all have ended."""
    identity = experiments.create(store, make_spec())
    for number in range(1, launches + 1):
        if number > 1:
            experiments.resume(store, identity)
        attempts.begin(store, identity, run_dir="/runs/x", placement=[])
        attempts.transition(store, identity, number, State.LOST)
    return identity


def bring_in(store: Store, identity: str, file: str, records: Sequence[Record], size: int = 1) -> None:
    """Bring records in at the end of a file that is not there."""
    before = facts.cursor(store, identity, file)
    assert facts.ingest(store, identity, file, Chunk(records, before + size, (), False), before)


@dataclass(frozen=True)
class Launch:
    """An attempt: where it resumed, and the steps that it logged."""

    resumed: int
    steps: int


@st.composite
def histories(draw: st.DrawFn) -> list[Launch]:
    """Attempts that each resume somewhere in what the ones before had done."""
    reached, history = 0, []
    for _ in range(draw(st.integers(1, 4))):
        launch = Launch(draw(st.integers(0, reached)), draw(st.integers(0, 8)))
        history.append(launch)
        reached = launch.resumed + launch.steps
    return history


def records_of(history: Sequence[Launch]) -> list[Record]:
    """What these attempts write into metrics.jsonl: a loss each step, an evaluation each third one."""
    clock = itertools.count(1_700_000_000)
    found: list[Record] = []
    for attempt, launch in enumerate(history, 1):
        found.append(StartRecord(next(clock), attempt, launch.resumed, 100))
        for step in range(launch.resumed + 1, launch.resumed + launch.steps + 1):
            value = math.nan if step == 4 else attempt * 1000.0 + step
            found.append(MetricsRecord(next(clock), attempt, step, {"loss": value, "lr": math.inf}))
            if step % 3 == 0:
                found.append(MetricsRecord(next(clock), attempt, step, {"eval_loss": value}))
    return found


Curve = list[tuple[int, int, str]]  # (attempt, step, value as text: NaN is equal to itself there)


def expected(records: Sequence[Record]) -> dict[str, Curve]:
    """The curves by the rule itself: a start takes away what lies past the step at which it resumed."""
    curves: dict[str, Curve] = {}
    for record in records:
        if isinstance(record, StartRecord):
            curves = {
                name: [point for point in curve if point[1] <= record.resumed_step] for name, curve in curves.items()
            }
        elif isinstance(record, MetricsRecord):
            for name, value in record.metrics.items():
                curves.setdefault(name, []).append((record.attempt, record.step, str(value)))
    return {name: curve for name, curve in curves.items() if curve}


def curve_of(points: series.Points) -> Curve:
    return list(zip(points.attempt, points.step, map(str, points.value), strict=True))


def curves_in(store: Store, identity: str) -> dict[str, Curve]:
    return {info.name: curve_of(series.read(store, identity, info.name)) for info in series.names(store, identity)}


def check(store: Store, identity: str, records: Sequence[Record]) -> None:
    """Everything that is read of an experiment is what these records say."""
    wanted = expected(records)
    assert curves_in(store, identity) == wanted
    lasts = {name: (curve[-1][1], curve[-1][2]) for name, curve in wanted.items()}
    assert {name: (step, str(value)) for name, (step, value) in series.last(store, identity).items()} == lasts
    found = experiments.get(store, identity)
    assert {name: str(value) for name, value in found.last.items()} == {name: last[1] for name, last in lasts.items()}
    resumed = [record.resumed_step for record in records if isinstance(record, StartRecord)]
    assert found.step == max([resumed[-1], *(step for step, _ in lasts.values())] if resumed else [0])
    tail = [value for _, _, value in wanted.get("loss", [])][-5:]
    assert [str(value) for value in series.tails(store, [identity], 5)[identity]] == tail


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = Store.open(tmp_path_factory.mktemp("facts") / "experiments.db")
    yield store
    store.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), data=st.data())
def test_any_pieces_in_any_order_of_readers_yield_one_point_a_step(
    shared: Store, tmp_path: Path, history: list[Launch], data: st.DataObject
) -> None:
    records = records_of(history)
    identity = create(shared, len(history))
    path = tmp_path / METRICS_FILE
    lines = [encode(record) for record in records]
    path.write_bytes(b"")
    longest = max(map(len, lines))
    stale, stale_at = read_chunk(path, 0), 0  # what a slower reader holds, with the cursor that it had
    written = 0
    for act in [*data.draw(st.lists(st.sampled_from(("write", "bring in", "too late", "anew")), max_size=30)), "rest"]:
        more = len(lines) if act == "rest" else data.draw(st.integers(1, 6)) if act == "write" else 0
        with path.open("ab") as file:
            file.write(b"".join(lines[written : written + more]))
        written = min(len(lines), written + more)
        at = facts.cursor(shared, identity, METRICS_FILE)
        if act == "too late":
            assert facts.ingest(shared, identity, METRICS_FILE, stale, stale_at) is (stale_at == at)
            stale, stale_at = read_chunk(path, at, limit=2 * longest), at
        elif act == "anew":
            chunk = read_chunk(path, 1 << 40, limit=3 * longest)
            assert chunk.truncated and facts.ingest(shared, identity, METRICS_FILE, chunk, at)
        while act in ("bring in", "rest"):
            at = facts.cursor(shared, identity, METRICS_FILE)
            chunk = read_chunk(path, at, limit=data.draw(st.integers(longest, 20 * longest)))
            assert facts.ingest(shared, identity, METRICS_FILE, chunk, at)
            if act == "bring in" or chunk.offset == at:
                break
    check(shared, identity, records)


@settings(max_examples=40)
@given(history=histories(), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_reading_only_what_is_new_gives_the_whole(shared: Store, history: list[Launch], cuts: list[int]) -> None:
    records = records_of(history)
    identity = create(shared, len(history))
    known: Curve = []
    lineage: list[int | None] = []
    for low, high in itertools.pairwise([0, *sorted(cuts), len(records)]):
        bring_in(shared, identity, METRICS_FILE, records[low:high], size=high - low)
        resumed = [attempt.resumed_step for attempt in attempts.list_attempts(shared, identity)]
        if resumed != lineage:
            known, lineage = [], resumed
        known += curve_of(series.read(shared, identity, "loss", after=known[-1][:2] if known else None))
        assert known == expected(records[: max(high, low)]).get("loss", [])
        assert all(left[1] < right[1] for left, right in itertools.pairwise(known))


def test_facts_of_attempts_that_nobody_launched_keep_the_steps_in_order(store: Store) -> None:
    identity = create(store)
    steps = [(1, 1), (1, 5), (9, 3), (9, 7), (1, 2)]
    records = [MetricsRecord(1.0, attempt, step, {"loss": 1.0}) for attempt, step in steps]
    bring_in(store, identity, METRICS_FILE, [*records, StartRecord(2.0, 9, 0, 5)])
    assert curve_of(series.read(store, identity, "loss")) == [
        (1, 1, "1.0"),
        (1, 2, "1.0"),
        (1, 5, "1.0"),
        (9, 7, "1.0"),
    ]


def test_a_resumed_attempt_takes_back_steps_samples_and_checkpoints(store: Store) -> None:
    identity = create(store, 2)
    bring_in(store, identity, METRICS_FILE, records_of([Launch(0, 9)]))
    for step in (3, 6, 9):
        bring_in(store, identity, SAMPLES_FILE, [SampleRecord(1.0, 1, step, "p", "r", scores={"a": math.nan})])
        bring_in(store, identity, EVENTS_FILE, [EventRecord(1.0, 1, "checkpoint", "Saved.", step=step)])
    assert events.last_checkpoint(store, identity) == 9
    begun = attempts.list_attempts(store, identity)
    assert [(attempt.resumed_step, attempt.started_at) for attempt in begun] == [(0, 1_700_000_000), (None, None)]
    bring_in(store, identity, METRICS_FILE, [StartRecord(2.0, 2, 6, 50)])
    found = experiments.get(store, identity)
    assert (found.step, found.total_steps, found.last["loss"]) == (6, 50, 1006.0)
    assert events.last_checkpoint(store, identity) == 6
    samples = list_samples(store, identity)
    assert [sample.step for sample in samples] == [3, 6] and math.isnan(samples[0].scores["a"])
    assert [sample.step for sample in list_samples(store, identity, step=6)] == [6]
    assert len(events.list_events(store, identity)) == 3
    bring_in(store, identity, METRICS_FILE, [StartRecord(1.0, 1, 0, 100)])  # the same again changes nothing
    assert experiments.get(store, identity).total_steps == 50
    assert maintenance.check(store) == []


def test_events_and_samples_of_a_file_that_was_begun_anew_come_in_once(store: Store) -> None:
    identity = create(store)
    happened = [EventRecord(1.0, 1, "e", str(number), data={"n": number}) for number in range(3)]
    wrote = [SampleRecord(1.0, 1, 1, "p", str(number)) for number in range(3)]
    for _ in range(2):
        bring_in(store, identity, EVENTS_FILE, happened)
        bring_in(store, identity, SAMPLES_FILE, wrote)
    assert [event.message for event in events.list_events(store, identity)] == ["0", "1", "2"]
    assert [sample.response for sample in list_samples(store, identity)] == ["0", "1", "2"]


def test_events_are_paged_forward_and_shown_from_the_end(store: Store) -> None:
    identity = create(store)
    events.add(store, identity, 1, "contact_lost", "lost\udcff contact", data={"\ud800": ["\ud800"]})
    bring_in(store, identity, EVENTS_FILE, [EventRecord(1.0, 1, "e", str(number), step=number) for number in range(5)])
    everything = events.list_events(store, identity)
    assert [event.message for event in everything] == ["lost\ufffd contact", *"01234"]
    assert everything[0].data == {"\ufffd": ["\ufffd"]}
    assert events.list_events(store, identity, newest=True, limit=2) == everything[-2:]
    paged: list[events.Event] = []
    while fresh := events.list_events(store, identity, after_id=paged[-1].id if paged else 0, limit=4):
        paged += fresh
    assert paged == everything


def test_artifacts_stand_at_their_full_path_and_once(store: Store) -> None:
    identity = create(store)
    made: list[dict[str, Any]] = [
        {"kind": "model", "path": "export", "sha256": "ab"},
        {"kind": "model", "path": "export", "sha256": "cd"},
        {"kind": "index", "path": "/elsewhere/index"},
        {"kind": "model"},
        {"kind": 1, "path": ["x"]},
    ]
    records = [EventRecord(float(at), 1, "artifact", "Exported.", step=at, data=data) for at, data in enumerate(made)]
    bring_in(store, identity, EVENTS_FILE, records)
    assert facts.artifacts(store, identity) == [
        facts.Artifact("model", "/runs/x/export", "cd", 1, 1.0),
        facts.Artifact("index", "/elsewhere/index", None, 2, 2.0),
    ]


def test_hostile_facts_are_kept_as_text_that_can_be_printed(store: Store) -> None:
    identity = create(store)
    bad = "\ud800\0" + "x" * 500
    bring_in(store, identity, METRICS_FILE, [MetricsRecord(1.0, 1, 2**63 - 1, {bad: 1.0, bad + "y": 2.0, "": -1e308})])
    bring_in(store, identity, EVENTS_FILE, [EventRecord(1.0, 1, bad, bad, data={"kind": bad, "path": bad, bad: [bad]})])
    bring_in(store, identity, SAMPLES_FILE, [SampleRecord(1.0, 1, 1, bad, bad, bad, {bad: math.inf})])
    names = [info.name for info in series.names(store, identity)]
    assert len(names) == 2 and all(len(name) <= 200 for name in names)
    (event,) = events.list_events(store, identity)
    (sample,) = list_samples(store, identity)
    json.dumps([names, event.message, event.data, sample.prompt, sample.reference], ensure_ascii=False).encode()
    assert list(sample.scores.values()) == [math.inf]


INGEST = """
    import sys
    from pathlib import Path
    from engine.store import facts
    from engine.store.database import Store
    from engine.telemetry.reader import read_chunk
    path, identity, folder, limit = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    store = Store.open(path)
    print("ready", flush=True)
    moved = True
    while moved:
        moved = False
        for name in ("metrics.jsonl", "events.jsonl"):
            at = facts.cursor(store, identity, name)
            chunk = read_chunk(folder / name, at, limit=limit)
            if chunk.offset != at:
                facts.ingest(store, identity, name, chunk, at)
                moved = True
"""


@pytest.mark.parametrize("kills", [0, 12], ids=["side by side", "killed again and again"])
def test_real_processes_bring_every_fact_in_once(store: Store, tmp_path: Path, spawn: Spawn, kills: int) -> None:
    history = [Launch(0, 400), Launch(250, 400), Launch(600, 100)]
    records = records_of(history)
    identity = create(store, len(history))
    (tmp_path / METRICS_FILE).write_bytes(b"".join(map(encode, records)))
    happened = [EventRecord(float(step), 1, "e", f"step {step}", step=step) for step in range(500)]
    (tmp_path / EVENTS_FILE).write_bytes(b"".join(map(encode, happened)))
    chance = random.Random(0)
    arguments = (store.path, identity, tmp_path)
    for _ in range(kills):
        process = spawn(INGEST, *arguments, 700)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for process in [spawn(INGEST, *arguments, limit) for limit in (700, 1500, 4000)]:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    check(store, identity, records)
    assert [event.step for event in events.list_events(store, identity)] == list(range(500))
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM points").scalar() == sum(
            len(record.metrics) for record in records if isinstance(record, MetricsRecord)
        )
    assert maintenance.check(store) == []
