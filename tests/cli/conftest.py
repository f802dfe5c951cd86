"""A way to call `engine` in this process, as the console command does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.cli.__main__ import main
from engine.spec.loading import parse_spec
from engine.store import experiments, facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord, MetricsRecord, SampleRecord, StartRecord


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Engine = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "experiments.db"


@pytest.fixture
def engine(database: Path, capsys: pytest.CaptureFixture[str]) -> Engine:
    """`engine(*arguments)` runs a command line on the test's own database."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(["--db", str(database), *arguments])
        captured = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Result(int(exit_.value.code), captured.out, captured.err)

    return run


SPEC = """
kind: sft
model:
  architecture: {}
data:
  train: train.jsonl
"""


@pytest.fixture
def filled(database: Path) -> Path:
    """A database with a finished run of 20 steps, sft-0001 named first, and a queued clone, sft-0002."""
    store = Store.open(database)
    first = experiments.create(store, parse_spec(SPEC), name="first", tags=("base",))
    points = [MetricsRecord(1_700_000_000.0 + step, 1, step, {"loss": 4.0 / step, "lr": 1e-3}) for step in range(1, 21)]
    diverged = MetricsRecord(1_700_000_021.0, 1, 20, {"grad_norm": float("nan")})
    records = [StartRecord(1_700_000_000.0, 1, 0, 20), *points, diverged]
    assert facts.ingest(store, first, "metrics.jsonl", Chunk(tuple(records), 100, (), False), 0)
    sample = SampleRecord(1_700_000_021.0, 1, 20, "Where was Ono born?", "In \x1b[31mZelt.", "In Zelt.")
    assert facts.ingest(store, first, "samples.jsonl", Chunk((sample,), 50, (), False), 0)
    event = EventRecord(
        1_700_000_022.0, 1, "artifact", "Exported.", data={"kind": "model", "path": "/x/export", "sha256": "ab"}
    )
    assert facts.ingest(store, first, "events.jsonl", Chunk((event,), 50, (), False), 0)
    experiments.create(store, parse_spec(SPEC, overrides=("train.lr=1e-4",)), name="second", parent_id=first)
    store.close()
    return database
