"""Embedding on a GPU: chunks a second beside plain sentence-transformers, and whether half precision keeps directions.

python benchmarks/gpu_rag.py --repeats 2          some five minutes on an H100

The model is made here (a BERT of the shape of all-MiniLM-L6-v2, random weights): a machine that is lent has no network.
Builds are processes of their own, in which a GPU does for the first time what plain encoding has done before it is
counted: the first run of that is printed too.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rag_watching import REPOSITORY, python_path, started, watched

sys.path.insert(0, str(REPOSITORY))
PLAIN = "SentenceTransformer.encode fp32"
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
    began = time.perf_counter()
    done = work()  # which returns arrays of this machine's memory: the GPU has done all
    return time.perf_counter() - began, done


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda", help="cpu: to try this program")
    arguments = parser.parse_args()
    gpu = arguments.device != "cpu"
    from sentence_transformers import SentenceTransformer

    from engine.rag.embedding.embedder import load_encoder
    from engine.spec.rag import Embedder

    name = torch.cuda.get_device_name() if gpu else "no GPU"
    print(f"{name}, torch {torch.__version__}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        make_model(Path(scratch))
        model = str(Path(scratch) / "model")
        texts = texts_of(arguments.texts)
        plain = SentenceTransformer(model, device=arguments.device, local_files_only=True)
        rows: dict[str, list[float]] = {}
        truth: Any = None
        encoders = {
            name: load_encoder(Embedder(path=model, precision=name), device=arguments.device)  # type: ignore[arg-type]
            for name in ("fp32", "bf16", "fp16", "auto")
        }
        for repeat in range(arguments.repeats + 1):
            seconds, found = timed(lambda: plain.encode(texts, convert_to_numpy=True))
            truth = found if truth is None else truth
            if repeat:
                rows.setdefault(PLAIN, []).append(seconds)
            else:
                print(f"{PLAIN}, for the first time: {arguments.texts / seconds:.0f} texts/s")
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
        if gpu:
            print(f"GPU memory at most {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
        whole_build(Path(scratch), model, texts, plain=min(rows[PLAIN]))


def whole_build(folder: Path, model: str, texts: list[str], plain: float) -> None:
    """Build an index of the texts by the command; then one that is killed and resumed, beside one that is not.

    plain: seconds that plain encoding takes.
    """
    rows = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (folder / "documents.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    document = {
        "kind": "rag",
        "corpus": {"path": "documents.jsonl", "near_duplicates": None},
        "chunks": {"max_truncated": 1.0, "tokens": 250},
        "embedder": {"path": model},
    }
    spec = folder / "spec.yaml"
    spec.write_text(json.dumps(document), encoding="utf-8")
    # What is calibrated may differ from build to build, and with it the last bits.
    fixed = ("embedder.precision=bf16", "embedder.batch_size=128")
    for name, settings in (("whole", ()), ("fixed", fixed)):
        built = watched(spec, folder / name, {}, *settings)
        pace, whole = built.metrics["chunks_per_second"], built.chunks / built.whole.wall
        rate = built.chunks / plain
        print(
            f"engine rag build, {built.precision}{', 128 texts a batch' if settings else ''}: "
            f"embeds {pace:.0f} chunks/s, {pace / rate:.2f}x plain; whole {whole:.0f} chunks/s, {whole / rate:.2f}x\n"
            f"    reading {built.reading}, embedding {built.embedding}, index {built.assembling}; "
            f"with loading {built.process}\n"
            f"    {json.dumps(dict(built.metrics))}"
        )
    killed = started(spec, folder / "killed", {"PYTHONPATH": python_path()}, *fixed)
    while not list((folder / "killed").glob("work/blocks/*.npy")) and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    rest = watched(spec, folder / "killed", {}, *fixed).metrics.get("embedded", 0.0)
    one, other = ((folder / run / "index" / "manifest.json").read_bytes() for run in ("killed", "fixed"))
    told = "the same to the byte" if one == other else "ANOTHER ONE"
    print(f"killed, and resumed with {rest:.0f} to embed: the index is {told}")


if __name__ == "__main__":
    main()
