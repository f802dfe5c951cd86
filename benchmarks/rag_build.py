"""A whole build beside SentenceTransformer.encode on the same chunks, and how well the index of SQuAD finds.

python benchmarks/rag_build.py                    SQuAD: some ten minutes on two cores
python benchmarks/rag_build.py --chunks 20000     a synthetic corpus of so many chunks instead, without questions
python benchmarks/rag_build.py --niceness 10      beside other work
python benchmarks/rag_build.py --model DIR --squad FILE

Each build is a process of its own, `engine rag build`; the embedder alone is another one, on the chunks that the build
has cut. Loading is not counted for either: a build counts from the first document to the index that is there. Beside
the clock stand seconds of processor time, user and system, of all threads: they compare best where others work too.
SQuAD's answerable questions are the queries, and the paragraph of each is what is to be found. The synthetic corpus has
words of SQuAD at random, 5 to 130 a document and mostly few, so that each becomes one chunk and none is like another.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from machine import describe
from rag_embedding import SQUAD, model_of, peak_bytes
from rag_watching import Built, Took, watched

sys.path.insert(0, str(Path(__file__).parent.parent))
from engine.rag.embedding.environment import prepare

MEASURES = ("recall@1", "recall@5", "recall@20", "mrr@10", "ndcg@10")
MB = 10**6
# Words of a document of the synthetic corpus, and of how many in a hundred.
LENGTHS = (((5, 25), 75), ((25, 60), 20), ((60, 130), 5))


def main() -> int:
    """Build, embed without a build, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, help="folder of an embedder; else all-MiniLM-L6-v2 of the test package")
    parser.add_argument("--squad", type=Path, default=SQUAD)
    parser.add_argument("--chunks", type=int, default=0, help="of a synthetic corpus; 0: SQuAD")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--niceness", type=int, default=0)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.nice(arguments.niceness)
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
        rows = ({"id": str(n), "text": text} for n, text in enumerate(synthetic(arguments.squad, arguments.chunks)))
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    exact = build(arguments, folder / "fp32", corpus, "fp32")
    texts = folder / "texts.json"
    texts.write_text(json.dumps(chunks_of(exact.index)))
    plain = alone(arguments, texts)
    fast = build(arguments, folder / "auto", corpus, "auto")
    took = Took(plain["seconds"], plain["cpu"])
    mean = plain["tokens"] / exact.chunks
    print(f"{corpus.name}: {exact.chunks:,} chunks of {mean:.0f} tokens in the mean; {describe()}")
    print(f"  SentenceTransformer.encode      {rates(exact.chunks, took)}            peak {plain['peak'] / MB:,.0f} MB")
    for built in (exact, fast):
        for part, seconds in (("embeds", built.embedding), ("whole ", built.whole)):
            print(f"  engine rag build, {built.precision:<5} {part} {rates(built.chunks, seconds, took)}", end="")
            print(f"   peak {built.peak / MB:,.0f} MB" if part == "embeds" else "")
        print(
            f"    reading {built.reading}, embedding {built.embedding}, index {built.assembling}; "
            f"with loading {built.process}"
        )
    return fast.index


def rates(chunks: int, took: Took, plain: Took | None = None) -> str:
    """Return chunks a second by the clock and by processor time, and how many times as many as plain encoding."""
    wall, cpu = (f"{chunks / seconds:8.1f} chunks/{unit}" for seconds, unit in ((took.wall, "s"), (took.cpu, "CPU s")))
    if plain is None:
        return f"{wall}        {cpu}"
    return f"{wall} {plain.wall / took.wall:5.2f}x {cpu} {plain.cpu / took.cpu:5.2f}x"


def synthetic(squad: Path, count: int) -> list[str]:
    """Return texts of words at random."""
    articles = json.loads(squad.read_text())["data"]
    words = " ".join(part["context"] for article in articles for part in article["paragraphs"]).split()
    draw = random.Random(0)
    spans, shares = zip(*LENGTHS, strict=True)
    return [" ".join(draw.choices(words, k=draw.randint(*draw.choices(spans, shares)[0]))) for _ in range(count)]


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
    return watched(folder / "spec.yaml", folder / "run", {"OMP_NUM_THREADS": str(arguments.threads)})


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
    began, worked = time.perf_counter(), time.process_time()
    model.encode(texts, normalize_embeddings=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    tokens = sum(map(len, model.tokenizer(texts, truncation=True)["input_ids"]))
    return {"seconds": seconds, "cpu": cpu, "tokens": tokens, "peak": peak_bytes()}


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
