"""Facts reach their files whatever the disk does, and training never waits for it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.telemetry import writer as writing
from engine.telemetry.reader import read_chunk
from engine.telemetry.records import (
    EVENTS_FILE,
    METRICS_FILE,
    SAMPLES_FILE,
    EventRecord,
    Level,
    MetricsRecord,
    Record,
    SampleRecord,
    StartRecord,
)
from engine.telemetry.writer import TelemetryWriter


def read(path: Path) -> list[Record]:
    """Return the records of a file in which every line must be whole."""
    chunk = read_chunk(path, 0)
    assert not chunk.problems and chunk.offset == path.stat().st_size
    return list(chunk.records)


def steps(path: Path) -> list[int]:
    return [record.step for record in read_chunk(path, 0).records if isinstance(record, MetricsRecord)]


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_every_kind_of_fact_reaches_its_file_in_order(tmp_path: Path) -> None:
    told = TelemetryWriter(tmp_path / "run", 3)
    told.start(5, 9)
    metrics = {"loss": 1.0, "grad_norm": float("inf")}
    told.metrics(6, metrics)
    metrics["loss"] = 2.0  # what was told stays as it was
    told.sample(6, "p", "r\n", "t", {"score": 0.5})
    told.event("checkpoint", "Saved.", Level.WARNING, 6, kind="x", path="y", event="z")
    assert told.flush()
    start, point = read(tmp_path / "run" / METRICS_FILE)
    assert isinstance(start, StartRecord) and (start.attempt, start.resumed_step, start.total_steps) == (3, 5, 9)
    assert isinstance(point, MetricsRecord) and point.metrics == {"loss": 1.0, "grad_norm": float("inf")}
    (sample,) = read(tmp_path / "run" / SAMPLES_FILE)
    assert isinstance(sample, SampleRecord) and (sample.response, sample.scores) == ("r\n", {"score": 0.5})
    (event,) = read(tmp_path / "run" / EVENTS_FILE)
    assert isinstance(event, EventRecord) and event.data == {"kind": "x", "path": "y", "event": "z"}
    told.close()
    told.metrics(7, {})
    assert steps(tmp_path / "run" / METRICS_FILE) == [6]


def test_a_file_that_takes_nothing_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / METRICS_FILE)
    told = TelemetryWriter(tmp_path, 1)
    for step in range(5000):  # far more than a pipe holds, and nobody reads it
        told.metrics(step, {"loss": 1.0})
    assert not told.flush(timeout=0.1)
    told.close(timeout=0.1)
    assert "facts of the run are lost" in capsys.readouterr().err


def test_half_a_line_of_a_killed_writer_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_bytes(b'{"kind":"metrics","ti')
    told = TelemetryWriter(tmp_path, 2)
    told.metrics(1, {})
    told.close()
    chunk = read_chunk(path, 0)
    assert steps(path) == [1] and len(chunk.problems) == 1


def test_a_folder_that_has_gone_is_waited_for_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writing, "_RETRY", 0.01)
    told = TelemetryWriter(tmp_path / "run", 1)
    told.metrics(1, {})
    assert told.flush()
    (tmp_path / "run").rename(tmp_path / "gone")
    for step in (2, 3):
        told.metrics(step, {})
        assert not told.flush()
    assert not (tmp_path / "run").exists()
    (tmp_path / "gone").rename(tmp_path / "run")
    until(lambda: steps(tmp_path / "run" / METRICS_FILE) == [1, 2, 3])
    (tmp_path / "run" / METRICS_FILE).unlink()
    told.metrics(4, {})
    told.close()
    assert steps(tmp_path / "run" / METRICS_FILE) == [4]
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_full_disk_loses_only_the_oldest_metrics_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_RETRY", 0.01)
    monkeypatch.setattr(writing, "BACKLOG", {**writing.BACKLOG, METRICS_FILE: 10})
    full = threading.Event()
    write = os.write

    def disk(descriptor: int, data: bytes) -> int:
        # A disk that fills up takes a part of a line first.
        if full.is_set():
            raise OSError(28, "No space left on device")
        if b'"step":1,' in data:
            full.set()
            return write(descriptor, data[: len(data) // 2])
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", disk)
    told = TelemetryWriter(tmp_path, 1)
    told.start(0, 99)
    assert told.flush()
    told.event("started", "Started.", Level.INFO, 0)
    told.metrics(1, {"loss": 1.0})
    until(full.is_set)
    assert not told.flush()
    for step in range(2, 40):
        told.metrics(step, {"loss": 1.0})
    monkeypatch.setattr(os, "write", write)
    assert told.flush() and told.flush()
    told.close()
    kept = steps(tmp_path / METRICS_FILE)
    assert kept == sorted(set(kept)) and kept[-10:] == list(range(30, 40))
    events = [record for record in read(tmp_path / EVENTS_FILE) if isinstance(record, EventRecord)]
    assert [event.event for event in events if event.event == "started"] == ["started"]
    lost = sum(event.data["facts"] for event in events if event.event == "facts_lost")
    assert lost + len(kept) == 39
    assert len(read_chunk(tmp_path / METRICS_FILE, 0).problems) == 1


def test_a_real_limit_on_the_file_size_stops_no_step(tmp_path: Path) -> None:
    script = f"""
import resource, signal
from pathlib import Path
from engine.telemetry.writer import TelemetryWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
told = TelemetryWriter(Path({str(tmp_path)!r}), 1)
for step in range(200):
    told.metrics(step, {{"loss": 1.0}})
assert not told.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, ({resource.RLIM_INFINITY}, {resource.RLIM_INFINITY}))
told.metrics(200, {{"loss": 1.0}})
told.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path / METRICS_FILE) == list(range(201))
    assert done.stderr.count("File too large") == 1


def test_what_cannot_be_encoded_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    told = TelemetryWriter(tmp_path, 1)
    told.event("odd", "An odd one.", Level.INFO, 1, thing=object())
    told.metrics(2, {"loss": "much"})  # type: ignore[dict-item]
    told.metrics(3, {"loss": 1.0})
    told.close()
    assert steps(tmp_path / METRICS_FILE) == [3]
    (odd,) = read(tmp_path / EVENTS_FILE)
    assert isinstance(odd, EventRecord) and odd.event == "fact_unwritable"


def test_a_killed_process_leaves_whole_lines_but_for_the_last(tmp_path: Path) -> None:
    script = f"""
import itertools
from pathlib import Path
from engine.telemetry.writer import TelemetryWriter
told = TelemetryWriter(Path({str(tmp_path)!r}), 1)
for step in itertools.count():
    told.metrics(step, {{"loss": 1.0 / (step + 1)}})
"""
    path = tmp_path / METRICS_FILE
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        until(lambda: path.exists() and path.stat().st_size > 200_000)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    chunk = read_chunk(path, 0)
    assert not chunk.problems
    assert steps(path) == list(range(len(chunk.records)))
