"""Blocks dealt over ranks that are killed, each with a folder of its own: all that was embedded is used."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from engine.rag.manifest import FILE, read_manifest
from tests.rag.making import spec_of, write_rows
from tests.rag.test_build import facts, vectors_on_disk
from tests.rag.tiny_embedder import WORDS
from tests.train.forkserver import ForkServer

DIMENSION = 32


def spec_file(folder: Path, embedder: Path) -> Path:
    draw = random.Random(1)
    documents = {f"d{n}": " ".join(draw.choices(WORDS, k=draw.randint(5, 40))) + f" n{n}" for n in range(120)}
    document = spec_of(write_rows(folder / "a.jsonl", documents), embedder, index={"block_size": 16})
    file = folder / "spec.yaml"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_ranks_apart_that_were_killed_go_on_with_what_each_has(
    tmp_path: Path, rag_server: ForkServer, tiny_embedder: Path
) -> None:
    spec = spec_file(tmp_path, tiny_embedder)
    whole = rag_server.start(spec, tmp_path / "whole", world=1)
    assert whole.wait() == [0], whole.log()
    run_dir = tmp_path / "run"
    first = rag_server.start(spec, run_dir, world=2, apart=True, attempt=1)
    deadline = time.monotonic() + 60
    while any(vectors_on_disk(folder, DIMENSION) < 20 for folder in (run_dir, run_dir / "apart-1")):
        assert time.monotonic() < deadline, first.log()
        time.sleep(0.002)
    for pid in first.pids:
        os.kill(pid, signal.SIGKILL)
    assert first.wait() == [-signal.SIGKILL] * 2
    there = vectors_on_disk(run_dir, DIMENSION) + vectors_on_disk(run_dir / "apart-1", DIMENSION)
    second = rag_server.start(spec, run_dir, world=2, apart=True, attempt=2)
    assert second.wait() == [0, 0], second.log()
    assert (run_dir / "index" / FILE).read_bytes() == (tmp_path / "whole" / "index" / FILE).read_bytes()
    points = [point for point in facts(run_dir, "metrics.jsonl", "metrics") if point["attempt"] == 2]
    total = read_manifest(run_dir / "index").counts.chunks
    assert max(point["metrics"].get("embedded", 0) for point in points) == total - there > 0


def test_ranks_that_wait_for_documents_stop_with_rank_0(
    tmp_path: Path, rag_server: ForkServer, tiny_embedder: Path
) -> None:
    spec = spec_file(tmp_path, tiny_embedder)
    pipe = tmp_path / "a.jsonl"
    rows = pipe.read_text()
    pipe.write_text(rows * 400)  # ids come again, so that it takes a while
    job = rag_server.start(spec, tmp_path / "run", world=2)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "work" / ".tmp-prepared").exists():
        assert time.monotonic() < deadline, job.log()
        time.sleep(0.002)
    for pid in job.pids:
        os.kill(pid, signal.SIGTERM)
    assert job.wait() == [130, 130], job.log() + job.log(1)
    last = facts(tmp_path / "run", "events.jsonl", "event")[-1]
    assert last["event"] == "stopped" and "Traceback" not in job.log()
