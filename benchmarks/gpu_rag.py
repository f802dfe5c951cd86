"""Embedding on a GPU: chunks a second beside plain sentence-transformers, and whether half precision keeps directions.

The model is made here (a BERT of the shape of all-MiniLM-L6-v2, random weights): a machine that is lent has no network.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

WORDS = [f"word{number}" for number in range(5000)]


def make_model(folder: Path) -> None:
    """Write a sentence-transformers folder: 6 layers, 384 wide, mean pooling, unit length."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    base = folder / "bert"
    base.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (base / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(base / "vocab.txt")).save_pretrained(base)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=512,
    )
    BertModel(shape).save_pretrained(base)
    modules = [Transformer(str(base), max_seq_length=256), Pooling(384, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules).save(str(folder / "model"))


def texts_of(count: int) -> list[str]:
    """Return texts of 20 to 240 words."""
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(20, 240))) for _ in range(count)]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and what the work returns."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    done = work()
    torch.cuda.synchronize()
    return time.perf_counter() - began, done


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    from sentence_transformers import SentenceTransformer

    from engine.rag.embedder import load_encoder
    from engine.spec.rag import Embedder

    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        make_model(Path(scratch))
        model = str(Path(scratch) / "model")
        texts = texts_of(arguments.texts)
        plain = SentenceTransformer(model, device="cuda", local_files_only=True)
        rows: dict[str, list[float]] = {}
        truth: Any = None
        encoders = {
            name: load_encoder(Embedder(path=model, precision=name), device="cuda")  # type: ignore[arg-type]
            for name in ("fp32", "bf16", "fp16", "auto")
        }
        for repeat in range(arguments.repeats + 1):
            seconds, found = timed(lambda: plain.encode(texts, convert_to_numpy=True))
            truth = found if truth is None else truth
            if repeat:
                rows.setdefault("SentenceTransformer.encode fp32", []).append(seconds)
            for name, encoder in encoders.items():
                seconds, found = timed(lambda encoder=encoder: encoder.encode_passages(texts))  # type: ignore[misc]
                if repeat:
                    rows.setdefault(f"engine {name} ({encoder.precision})", []).append(seconds)
                else:
                    cosine = float(np.sum(truth * found, axis=1).min())
                    decided = json.dumps(encoder.calibration.record())
                    print(f"engine {name}: least cosine to plain fp32 {cosine:.6f}, {decided}")
        for name, seconds_of in rows.items():
            best = min(seconds_of)
            print(f"{name:36s} {arguments.texts / best:9.0f} texts/s  (best of {len(seconds_of)}, {best:.2f} s)")
        print(f"GPU memory at most {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
