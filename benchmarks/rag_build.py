"""A whole build beside SentenceTransformer.encode on the same chunks, and how well the index of SQuAD finds.

python benchmarks/rag_build.py                    SQuAD: some ten minutes on two cores
python benchmarks/rag_build.py --chunks 20000     a synthetic corpus of so many chunks instead, without questions
python benchmarks/rag_build.py --model DIR --squad FILE

Each build is a process of its own, `engine rag build`; the embedder alone is another one, on the chunks that the build
has cut. Loading is not counted for either: a build counts from the first document to the index that is there. SQuAD's
answerable questions are the queries, and the paragraph of each is what is to be found.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import describe
from rag_embedding import SQUAD, corpora, model_of, peak_bytes

sys.path.insert(0, str(Path(__file__).parent.parent))
from engine.rag.environment import prepare

REPOSITORY = Path(__file__).parent.parent
MEASURES = ("recall@1", "recall@5", "recall@20", "mrr@10", "ndcg@10")
MB = 10**6


@dataclass(frozen=True)
class Built:
    """What a build took."""

    index: Path
    chunks: int
    precision: str
    reading: float  # seconds: documents read and cut
    embedding: float
    assembling: float
    whole: float  # from the first document on
    process: float  # with loading
    peak: float  # bytes


def main() -> int:
    """Build, embed without a build, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, help="folder of an embedder; else all-MiniLM-L6-v2 of the test package")
    parser.add_argument("--squad", type=Path, default=SQUAD)
    parser.add_argument("--chunks", type=int, default=0, help="of a synthetic corpus; 0: SQuAD")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    prepare()
    if arguments.plain:
        print(json.dumps(encoded(arguments)))
        return 0
    libraries = [f"{name} {version(name)}" for name in ("torch", "sentence-transformers", "faiss-cpu")]
    print(describe(*libraries))
    print(f"{model_of(arguments).parent.name}/{model_of(arguments).name}, {arguments.threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        index = speed(arguments, Path(folder))
        if not arguments.chunks:
            quality(arguments, index)
    return 0


def speed(arguments: argparse.Namespace, folder: Path) -> Path:
    """Print the builds and the embedder alone; return the index of the last build."""
    corpus = arguments.squad.resolve()
    if arguments.chunks:
        corpus = folder / "mixed.jsonl"
        rows = ({"id": str(n), "text": text} for n, text in enumerate(corpora(arguments)["mixed lengths"]))
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    exact = build(arguments, folder / "fp32", corpus, "fp32")
    texts = folder / "texts.json"
    texts.write_text(json.dumps(chunks_of(exact.index)))
    plain = alone(arguments, texts)
    fast = build(arguments, folder / "auto", corpus, "auto")
    print(f"{corpus.name}: {exact.chunks:,} chunks; {describe()}")
    rate = exact.chunks / plain["seconds"]
    print(f"  SentenceTransformer.encode      {rate:8.1f} chunks/s          peak {plain['peak'] / MB:,.0f} MB")
    for built in (exact, fast):
        embedding, whole = built.chunks / built.embedding, built.chunks / built.whole
        print(
            f"  engine rag build, {built.precision:<5} embeds {embedding:8.1f} chunks/s {embedding / rate:5.2f}x   "
            f"whole {whole:8.1f} chunks/s {whole / rate:5.2f}x   peak {built.peak / MB:,.0f} MB\n"
            f"    reading {built.reading:.1f} s, embedding {built.embedding:.1f} s, index {built.assembling:.1f} s; "
            f"with loading {built.process:.1f} s"
        )
    return fast.index


def build(arguments: argparse.Namespace, folder: Path, corpus: Path, precision: str) -> Built:
    """Build in a process of its own."""
    folder.mkdir()
    spec = {
        "kind": "rag",
        "corpus": {"path": str(corpus)},
        "embedder": {"path": str(model_of(arguments)), "precision": precision},
        "placement": {"threads": arguments.threads},
    }
    (folder / "spec.yaml").write_text(json.dumps(spec))
    run = folder / "run"
    command = [sys.executable, "-m", "engine.cli", "rag", "build", str(folder / "spec.yaml"), "--run-dir", str(run)]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(arguments.threads)}
    began = time.monotonic()
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    begun_reading = 0.0
    while not begun_reading and process.poll() is None:
        if (run / "work" / "calibration.json").exists():
            begun_reading = time.time()
        time.sleep(0.005)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"the build ended with {process.returncode}: see {run}")
    times = {event["event"]: event["time"] for event in records(run / "events.jsonl")}
    points = [point for point in records(run / "metrics.jsonl") if "chunks" in point.get("metrics", {})]
    embedded = max(point["time"] for point in points)
    started = next(record["time"] for record in records(run / "metrics.jsonl") if record["kind"] == "start")
    manifest = json.loads((run / "index" / "manifest.json").read_text())
    return Built(
        index=run / "index",
        chunks=manifest["counts"]["chunks"],
        precision=manifest["embedder"]["precision"],
        reading=started - begun_reading,
        embedding=embedded - started,
        assembling=times["artifact"] - embedded,
        whole=times["artifact"] - begun_reading,
        process=seconds,
        peak=usage.ru_maxrss * 1024.0,
    )


def records(file: Path) -> list[dict[str, Any]]:
    """Return the records of a file of facts."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def chunks_of(index: Path) -> list[str]:
    """Return the texts of all chunks."""
    from engine.rag.opening import open_index

    return [text for segment in open_index(index).segments for text in segment.texts()]


def alone(arguments: argparse.Namespace, texts: Path) -> dict[str, float]:
    """Embed texts with SentenceTransformer.encode in a process of its own; return seconds and peak memory."""
    given = ["--plain", texts, "--model", model_of(arguments), "--threads", arguments.threads]
    command = [sys.executable, __file__, *map(str, given)]
    environ = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def encoded(arguments: argparse.Namespace) -> dict[str, float]:
    """Embed the texts of a file."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(arguments.threads)
    model = SentenceTransformer(str(model_of(arguments)), local_files_only=True)
    texts = json.loads(arguments.plain.read_text())
    began = time.perf_counter()
    model.encode(texts, normalize_embeddings=True)
    return {"seconds": time.perf_counter() - began, "peak": peak_bytes()}


def quality(arguments: argparse.Namespace, index: Path) -> None:
    """Print what each way of searching finds."""
    import torch

    from engine.evaluate.judgements import read_questions
    from engine.evaluate.ranking import Measure
    from engine.evaluate.retrieval import answerable, differences, measure_index
    from engine.rag.opening import open_searcher

    torch.set_num_threads(1)
    questions = answerable(read_questions(arguments.squad), str(arguments.squad))
    measures = [Measure.parse(name) for name in MEASURES]
    print(f"SQuAD, {len(questions):,} answerable questions, 95 % intervals; {describe()}")
    searcher = open_searcher(index, model_of(arguments))
    found = {}
    for mode in ("dense", "lexical", "hybrid"):
        quality = found[mode] = measure_index(searcher, questions, name="squad", mode=mode, measures=measures)
        figures = "  ".join(
            f"{name} {one.value:.4f} [{one.low:.4f}, {one.high:.4f}]" for name, one in quality.figures.items() if one
        )
        latency = f"p50 {quality.latency_p50 * 1000:.1f} ms, p99 {quality.latency_p99 * 1000:.1f} ms"
        print(f"  {mode:<8} {figures}  {latency}")
    for other in ("dense", "lexical"):
        gains = differences(found[other], found["hybrid"])
        told = "  ".join(
            f"{name} {one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]" for name, one in gains.items() if one
        )
        print(f"  hybrid less {other:<8} {told}")


if __name__ == "__main__":
    sys.exit(main())
