"""A build with real processes: whole or cut off, by one rank or several, it leaves the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ExitCode
from engine.rag.embedding.blocks import _HEAD
from engine.rag.manifest import FILE, read_manifest, verify
from engine.rag.opening import open_index, open_searcher
from engine.spec.models import RagSpec
from tests.train.forkserver import ForkServer

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = [f"w{number}" for number in range(300)]
BLOCK = 32


@pytest.fixture(scope="module")
def embedder(tiny_embedder: Path) -> Path:
    return tiny_embedder


def corpus(folder: Path, documents: int = 150) -> Path:
    """A file of documents of many lengths."""
    draw = random.Random(1)
    rows = [
        {"id": f"d{number}", "text": " ".join(draw.choices(WORDS, k=draw.randint(5, 60))), "even": number % 2 == 0}
        for number in range(documents)
    ]
    file = folder / "documents.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def spec_file(folder: Path, documents: Path, embedder: Path | None, **more: Any) -> Path:
    """A spec of an index of these documents."""
    document = {
        "kind": "rag",
        "name": "index",
        "corpus": {"path": str(documents)},
        "chunks": {"tokens": 24, "overlap": 4},
        "embedder": None if embedder is None else {"path": str(embedder), "precision": "fp32", "batch_size": 4},
        "index": {"block_size": BLOCK},
        "placement": {"threads": 1},
        **more,
    }
    file = folder / "spec.yaml"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture(scope="module")
def server(rag_server: ForkServer) -> ForkServer:
    return rag_server


def built(server: ForkServer, spec: Path, run_dir: Path, *, world: int = 1, apart: bool = False) -> Path:
    """Build to the end; return the index."""
    job = server.start(spec, run_dir, world=world, apart=apart)
    assert job.wait() == [0] * world, job.log()
    return run_dir / "index"


def facts(run_dir: Path, file: str, kind: str) -> list[dict[str, Any]]:
    """The records of a kind that a run has written."""
    lines = (run_dir / file).read_text().splitlines() if (run_dir / file).exists() else []
    return [record for line in lines if (record := json.loads(line))["kind"] == kind]


def vectors_on_disk(run_dir: Path, dimension: int) -> int:
    """How many texts a killed build has embedded: rows of finished blocks, and of whole records of parts."""
    blocks, count = run_dir / "work/blocks", 0
    finished = {file.stem for file in blocks.glob("[0-9a-f]*.npy")}
    for file in blocks.glob("[0-9a-f]*"):
        with contextlib.suppress(FileNotFoundError):  # a part that has just become a block
            if file.suffix == ".npy":
                count += (file.stat().st_size - 128) // (4 * dimension)
            elif file.stem not in finished:
                count += texts_of(file.read_bytes())
    return count


def texts_of(part: bytes) -> int:
    """How many texts the whole records of a part hold."""
    place = count = 0
    while place + _HEAD.size <= len(part):
        _, texts, width, _ = _HEAD.unpack_from(part, place)
        place += _HEAD.size + texts * (4 + 4 * width)
        count += texts if place <= len(part) else 0
    return count


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, server: ForkServer, embedder: Path) -> Path:
    """An index that was built without a break."""
    folder = tmp_path_factory.mktemp("whole")
    return built(server, spec_file(folder, corpus(folder), embedder), folder / "run")


@pytest.mark.parametrize("draw", range(2))
def test_killed_at_any_moment_it_goes_on_to_the_same_index_and_embeds_no_text_twice(
    draw: int, tmp_path: Path, server: ForkServer, embedder: Path, whole: Path
) -> None:
    spec, run_dir = spec_file(tmp_path, corpus(tmp_path), embedder), tmp_path / "run"
    first = server.start(spec, run_dir, world=1, attempt=1)
    wanted = random.Random(draw).uniform(0.05, 0.8) * 150
    dimension = read_manifest(whole).embedder.dimension  # type: ignore[union-attr]
    deadline = time.monotonic() + 60
    while vectors_on_disk(run_dir, dimension) < wanted:
        assert time.monotonic() < deadline, first.log()
        time.sleep(0.002)
    os.kill(first.pids[0], signal.SIGKILL)
    assert first.wait() == [-signal.SIGKILL]
    there = vectors_on_disk(run_dir, dimension)
    second = server.start(spec, run_dir, world=1, attempt=2)
    assert second.wait() == [0], second.log()
    assert (run_dir / "index" / FILE).read_bytes() == (whole / FILE).read_bytes()
    total = read_manifest(whole).counts.chunks
    embedded = [
        record["metrics"].get("embedded", 0)
        for record in facts(run_dir, "metrics.jsonl", "metrics")
        if record["attempt"] == 2
    ]
    assert there >= wanted and max(embedded) == total - there


@pytest.mark.parametrize("apart", [False, True], ids=["shared", "apart"])
def test_two_ranks_build_what_one_does_whether_they_share_a_folder_or_not(
    apart: bool, tmp_path: Path, server: ForkServer, embedder: Path, whole: Path
) -> None:
    spec = spec_file(tmp_path, corpus(tmp_path), embedder)
    index = built(server, spec, tmp_path / "run", world=2, apart=apart)
    assert (index / FILE).read_bytes() == (whole / FILE).read_bytes()
    assert verify(index) == []


def test_what_is_found_is_what_exact_search_over_all_vectors_finds(whole: Path, embedder: Path) -> None:
    index = open_index(whole, embedder)
    searcher = open_searcher(whole, embedder)
    encoder = index.load_encoder()
    query = "w1 w2 w3 w4"
    scores = np.concatenate([segment.vectors for segment in index.segments]) @ encoder.encode_queries([query])[0]  # type: ignore[list-item]
    best = np.lexsort((np.arange(len(scores)), -scores))[:7]
    found = searcher.search([query], 7, mode="dense")[0]
    assert [passage.chunk.id for passage in found] == [index.chunk(int(row)).id for row in best]
    (even,) = searcher.search([query], 5, where=["even=true"])
    assert len(even) == 5 and all(int(passage.chunk.document[1:]) % 2 == 0 for passage in even)
    for passage in found:
        assert passage.title == "" and passage.source.startswith("documents.jsonl:")


def test_a_signal_stops_it_and_the_next_attempt_goes_on(
    tmp_path: Path, server: ForkServer, embedder: Path, whole: Path
) -> None:
    spec, run_dir = spec_file(tmp_path, corpus(tmp_path), embedder), tmp_path / "run"
    first = server.start(spec, run_dir, world=1, attempt=1)
    deadline = time.monotonic() + 60
    while not list((run_dir / "work/blocks").glob("*.part")):
        assert time.monotonic() < deadline, first.log()
        time.sleep(0.002)
    os.kill(first.pids[0], signal.SIGTERM)
    (code,) = first.wait()
    assert code == ExitCode.INTERRUPTED and facts(run_dir, "events.jsonl", "event")[-1]["event"] == "stopped"
    second = server.start(spec, run_dir, world=1, attempt=2)
    assert second.wait() == [0], second.log()
    assert (run_dir / "index" / FILE).read_bytes() == (whole / FILE).read_bytes()


def test_its_facts_tell_pace_and_artifact(whole: Path) -> None:
    run_dir = whole.parent
    chunks = read_manifest(whole).counts.chunks
    (start,) = facts(run_dir, "metrics.jsonl", "start")
    assert (start["resumed_step"], start["total_steps"]) == (0, chunks)
    measured: dict[str, float] = {}
    for record in facts(run_dir, "metrics.jsonl", "metrics"):
        measured |= record["metrics"]
    assert measured["chunks"] == measured["embedded"] == chunks and measured["documents"] == 150
    assert measured["index_recall@10"] == 1.0 and measured["tokens"] > chunks
    (made,) = [event for event in facts(run_dir, "events.jsonl", "event") if event["event"] == "artifact"]
    assert (made["data"]["kind"], made["data"]["path"]) == ("index", "index")
    assert not (run_dir / "work").exists()
    provenance = json.loads((whole / "plumbline.json").read_text())
    assert provenance["index"] == {"generation": 1, "files": dict(read_manifest(whole).files)} and verify(whole) == []


def test_equal_texts_of_a_base_are_not_embedded_again(
    tmp_path: Path, server: ForkServer, embedder: Path, whole: Path
) -> None:
    documents = corpus(tmp_path)
    with documents.open("a") as file:
        file.write(json.dumps({"id": "new", "text": "w1 w1 w2 w299 w298"}) + "\n")
    spec = spec_file(tmp_path, documents, embedder, base=str(whole))
    index = built(server, spec, tmp_path / "run")
    points = facts(tmp_path / "run", "metrics.jsonl", "metrics")
    assert max(record["metrics"].get("embedded", 0) for record in points) == 1
    assert read_manifest(index).counts.chunks == read_manifest(whole).counts.chunks + 1


def test_a_corpus_of_which_nothing_can_be_used_is_one_sentence(tmp_path: Path, server: ForkServer) -> None:
    (tmp_path / "empty.txt").write_text("  \n")
    job = server.start(spec_file(tmp_path, tmp_path / "empty.txt", None), tmp_path / "run", world=1)
    assert job.wait() == [ExitCode.USAGE]
    (line,) = [line for line in job.log().splitlines() if line.startswith("error:")]
    assert "there is no document that can be used" in line and "is empty" in line
    assert "Traceback" not in job.log()


def test_words_alone_need_neither_embedder_nor_faiss(tmp_path: Path, server: ForkServer) -> None:
    index = built(server, spec_file(tmp_path, corpus(tmp_path), None), tmp_path / "run")
    script = (
        "import sys; from pathlib import Path; from engine.rag.opening import open_searcher\n"
        f"found = open_searcher(Path({str(index)!r})).search(['w7 w8'], 3)\n"
        "print(len(found[0]), [name for name in ('torch', 'faiss', 'sentence_transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "3 []"


def test_a_spec_of_an_index_is_read_whole() -> None:
    assert RagSpec.model_validate({"corpus": {"path": "c"}}).index.lexical
