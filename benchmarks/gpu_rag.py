"""Embedding on a GPU: chunks a second beside plain sentence-transformers, and whether half precision keeps directions.

The model is made here (a BERT of the shape of all-MiniLM-L6-v2, random weights): a machine that is lent has no network.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
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
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    base = folder / "bert"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    raw = Tokenizer(WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=256, **special).save_pretrained(base)
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
        whole_build(Path(scratch), model, texts)


def whole_build(folder: Path, model: str, texts: list[str]) -> None:
    """Build an index of the texts by the command, twice: whole, and killed and resumed; print pace and equality."""
    rows = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (folder / "documents.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    spec = {
        "kind": "rag",
        "corpus": {"path": "documents.jsonl", "near_duplicates": None},
        "chunks": {"max_truncated": 1.0, "tokens": 250},
        "embedder": {"path": model},
    }
    (folder / "spec.yaml").write_text(json.dumps(spec), encoding="utf-8")
    command = [sys.executable, "-m", "engine.cli", "rag", "build", str(folder / "spec.yaml"), "--run-dir"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    for block in (1024, 4096, 16384, None):
        run_dir = folder / ("whole" if block is None else f"blocks-{block}")
        sized = [] if block is None else ["--set", f"index.block_size={block}"]
        began = time.perf_counter()
        subprocess.run([*command, str(run_dir), *sized], check=True, env=environ, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        points = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        told = {name: value for point in points if "metrics" in point for name, value in point["metrics"].items()}
        named = "as the spec has it" if block is None else f"block_size {block}"
        print(f"engine rag build, {named}: {told['chunks_per_second']:.0f} chunks/s, {seconds:.1f} s from start to end")
    print(json.dumps(told))
    killed = subprocess.Popen([*command, str(folder / "killed")], env=environ, stderr=subprocess.DEVNULL)
    while not list((folder / "killed").glob("work/blocks/*.npy")) and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    subprocess.run([*command, str(folder / "killed")], check=True, env=environ, stderr=subprocess.DEVNULL)
    same = (folder / "killed/index/manifest.json").read_bytes() == (folder / "whole/index/manifest.json").read_bytes()
    print(f"killed and resumed, the index is {'the same to the byte' if same else 'ANOTHER ONE'}")


if __name__ == "__main__":
    main()
