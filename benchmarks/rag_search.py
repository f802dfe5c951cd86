"""How fast, how large and how good the kinds of vector indexes are: `python benchmarks/rag_search.py`.

Clustered unit vectors, memory-mapped, and queries from the same clusters that are not among them. Each kind is built in
a process of its own, and searched in another: one query at a time, then all at once. Recall is against exact search;
"codes" is that of faiss alone, before what it found is scored by the vectors themselves.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from machine import describe
from numpy.typing import NDArray

from engine.plan.rag import choose_index, estimate
from engine.plan.sizes import in_words
from engine.rag.vectors.index import build_vectors, load, save
from engine.rag.vectors.nearest import nearest
from engine.rag.vectors.vector_rows import VectorRows

FACTORIES = [
    "Flat",
    "HNSW32",
    "IVF1024,SQ8",
    "IVF1024,PQ48",
    "IVF1024,PQ96x4fs",
    "IVF1024,PQ64x4fs,RFlat",
    "PQ64x4fs,RFlat",
]
K = 10
VECTORS, QUERIES, TRUE = "vectors.npy", "queries.npy", "true.npy"


def clustered(rows: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Return unit vectors [rows, dimension] around one of 2,000 centres each, neighbours at a cosine of about .67."""
    centres = np.random.default_rng(0).standard_normal((2_000, dimension), np.float32)
    random = np.random.default_rng(seed)
    made = np.empty((rows, dimension), np.float32)
    for first in range(0, rows, 10_000):
        part = made[first : first + 10_000]
        part[:] = centres[random.integers(len(centres), size=len(part))]
        part += 0.7 * random.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


def mapped(folder: Path) -> VectorRows:
    """Return the vectors of a folder."""
    vectors = np.load(folder / VECTORS, mmap_mode="r")
    return VectorRows([vectors], vectors.shape[1])


def build(folder: Path, factory: str, threads: int) -> dict[str, float]:
    """Build and save an index; return seconds, bytes and the peak of memory."""
    vectors = mapped(folder)
    before = peak()
    began, cpu = time.perf_counter(), time.process_time()
    index = build_vectors(vectors, choose_index(vectors.rows, vectors.dimension, factory=factory), threads=threads)
    took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    save(index, folder / "index")
    return took | {"bytes": (folder / "index").stat().st_size, "peak": peak(), "before": before}


def search(folder: Path, factory: str, threads: int) -> dict[str, float]:
    """Search a saved index; return milliseconds, queries a second, recall and memory."""
    faiss.omp_set_num_threads(threads)
    vectors, queries, true = mapped(folder), np.load(folder / QUERIES), np.load(folder / TRUE)
    choice = choose_index(vectors.rows, vectors.dimension, factory=factory)
    index = load(folder / "index", vectors, effort=choice.effort)
    index.search(queries[:20], K)  # pages of the files come into memory
    took, cpu = [], time.process_time()
    for query in queries:
        began = time.perf_counter()
        index.search(query[None], K)
        took.append((time.perf_counter() - began) * 1e3)
    cpu = (time.process_time() - cpu) / len(queries) * 1e3
    began = time.perf_counter()
    _, rows = index.search(queries, K)
    batched = len(queries) / (time.perf_counter() - began)
    if choice.effort_name == "nprobe":
        faiss.ParameterSpace().set_index_parameter(index.index, "nprobe", choice.effort)
    elif choice.effort_name:
        faiss.ParameterSpace().set_index_parameter(index.index, "efSearch", choice.effort)
    _, alone = index.index.search(queries, K)
    cuts = statistics.quantiles(took, n=100)
    return {
        "p50": cuts[49],
        "p99": cuts[98],
        "cpu": cpu,
        "batched": batched,
        "recall": shared(rows, true),
        "codes": shared(alone, true),
        "anonymous": memory("RssAnon"),
        "resident": memory("VmRSS"),
    }


def shared(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the mean share of the true rows [q, K] that were found."""
    return float(
        np.mean([len(set(one) & set(other)) / K for one, other in zip(found.tolist(), true.tolist(), strict=True)])
    )


def peak() -> float:
    """Return the most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory(name: str) -> float:
    """Return an amount of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def in_its_own_process(what: str, folder: Path, factory: str, threads: int) -> dict[str, float]:
    """Run one measurement."""
    command = [sys.executable, __file__, "--only", what, "--folder", str(folder), "--factory", factory]
    done = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=384, help="of each (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=1_000, help="queries (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of faiss (default: %(default)s)")
    parser.add_argument("--factory", action="append", help="only this kind; may be given more than once")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["build", "search"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    factories = arguments.factory or FACTORIES
    if arguments.only:
        measure = build if arguments.only == "build" else search
        print(json.dumps(measure(arguments.folder, factories[0], arguments.threads)))
        return
    print(time.strftime("%Y-%m-%d"), describe(f"faiss {faiss.__version__}", f"numpy {np.__version__}"))
    size = f"{arguments.rows:,} vectors of {arguments.dimension} dimensions"
    print(f"{size}, {arguments.queries:,} queries, k={K}, {arguments.threads} thread(s)")
    print(f"{'':<24} {'build s':>7} {'CPU s':>6} {'peak':>9} {'file':>9} {'planned':>9}", end="")
    print(
        f" {'p50 ms':>7} {'p99 ms':>7} {'CPU ms':>6} {'q/s':>7} {'recall':>7} {'codes':>6} {'held':>9} {'resident':>9}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / VECTORS, clustered(arguments.rows, arguments.dimension, 1))
        np.save(folder / QUERIES, clustered(arguments.queries, arguments.dimension, 2))
        np.save(folder / TRUE, nearest(mapped(folder), np.load(folder / QUERIES), K)[1])
        for factory in factories:
            made = in_its_own_process("build", folder, factory, arguments.threads)
            found = in_its_own_process("search", folder, factory, arguments.threads)
            choice = choose_index(arguments.rows, arguments.dimension, factory=factory)
            planned = estimate(arguments.rows, arguments.dimension, choice)
            print(f"{factory:<24} {made['seconds']:>7.1f} {made['cpu']:>6.1f}", end="")
            print(f" {in_words(made['peak']):>9} {in_words(made['bytes']):>9}", end="")
            print(f" {in_words(planned.index_bytes or 0):>9}", end="")
            print(f" {found['p50']:>7.2f} {found['p99']:>7.2f} {found['cpu']:>6.2f} {found['batched']:>7,.0f}", end="")
            print(f" {found['recall']:>7.3f} {found['codes']:>6.3f}", end="")
            print(f" {in_words(found['anonymous']):>9} {in_words(found['resident']):>9}", flush=True)
            told = [
                f"{in_words(planned.building_bytes or 0)} to build",
                f"{in_words(planned.searching_bytes or 0)} held",
            ]
            print(f"{'':<24} planned: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
