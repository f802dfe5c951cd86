"""A PPO step with adapters over one shared base: seconds and tokens a second by phase, memory beside the plan.

python benchmarks/ppo_step.py                       a tiny shape, on whatever is here
python benchmarks/ppo_step.py --shape 13b --prompts 64    a random-weight 13B Llama: an H200, 30 GB of disk
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import describe

# hidden size, layers, heads, intermediate size
SHAPES = {"tiny": (128, 3, 4, 352), "1b": (2048, 16, 16, 5504), "13b": (5120, 40, 40, 13824)}
WORDS = 8000


def main() -> int:
    """Make the model and the prompts, run the steps in a process of their own, and print what they took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--tokens", type=int, default=None, help="of each prompt and of each answer")
    parser.add_argument("--prompts", type=int, default=16, help="answers a step")
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    tokens = arguments.tokens or (256 if arguments.shape != "tiny" else 32)
    with tempfile.TemporaryDirectory() as folder:
        spec = prepare(Path(folder), arguments.shape, tokens, arguments.prompts, arguments.steps)
        run = subprocess.run(
            [sys.executable, "-m", "engine.cli", "train", str(spec), "--run-dir", str(Path(folder) / "run")],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            print(run.stderr[-2000:], file=sys.stderr)
            return run.returncode
        report(Path(folder), spec, arguments.shape, tokens, arguments.prompts)
    return 0


def prepare(folder: Path, shape: str, tokens: int, prompts: int, steps: int) -> Path:
    """Write a model with random weights, prompts of one length, and the spec; return the spec's path."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from engine.data.tokenizers import train_tokenizer
    from engine.spec.sections import Data

    draw = random.Random(0)
    words = [f"w{number}" for number in range(WORDS)]
    rows = [{"prompt": " ".join(draw.choices(words, k=tokens - 3)), "response": "w0"} for _ in range(2 * prompts)]
    vocabulary = [{"prompt": " ".join(words), "response": "w0"}]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in vocabulary))
    tokenizer = train_tokenizer(None, Data(train=str(folder / "words.jsonl")))
    hidden, layers, heads, intermediate = SHAPES[shape]
    cuda = torch.cuda.is_available()
    config = LlamaConfig(
        vocab_size=max(len(tokenizer), 32000 if shape != "tiny" else 0),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=2 * tokens + 8,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16" if cuda else "float32",
    )
    with torch.device("cuda" if cuda else "cpu"):
        torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
        network = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    spec: dict[str, Any] = {
        "kind": "ppo",
        "model": {"path": "model", "lora": {"rank": 16}},
        "rewards": {"length": {"kind": "length", "target": tokens}},
        "data": {"train": "prompts.jsonl", "max_prompt_length": tokens + 8, "max_response_length": tokens},
        "rollout": {"prompts": prompts, "batch_size": prompts},
        "critic": {"share_base": True},
        "ppo": {"truncation": "keep"},
        "train": {
            "steps": steps,
            "batch_size": prompts,
            "micro_batch_size": min(8, prompts),
            "precision": "bf16" if cuda else "fp32",
            "zero_stage": 1,
            "gradient_checkpointing": cuda,
        },
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec))
    return path


def report(folder: Path, spec_path: Path, shape: str, tokens: int, prompts: int) -> None:
    """Print the last step's figures beside the plan's memory."""
    from engine.plan.place import place_of
    from engine.plan.reading import plan_run
    from engine.spec.loading import load_spec
    from engine.spec.models import PpoSpec
    from engine.spec.resolve import with_absolute_paths

    records = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    last = next(record["metrics"] for record in reversed(records) if "train_seconds" in record.get("metrics", {}))
    spec = with_absolute_paths(load_spec(spec_path), spec_path.parent)
    assert isinstance(spec, PpoSpec)
    memory = plan_run(spec, place_of([1], local=True)).memory
    print(describe(*_device()))
    print(
        f"PPO, {shape} Llama, adapters over one base, {prompts} answers of {tokens} + {tokens} tokens a step, one rank"
    )
    answered = prompts * last["response_length"]
    read = prompts * (tokens + last["response_length"])
    for phase, count, what in (
        ("generate", answered, "written"),
        ("score", read, "read"),
        ("train", read, "trained on"),
    ):
        seconds = last[f"{phase}_seconds"]
        print(f"  {phase:<9} {seconds:8.2f} s  {count / seconds:10,.0f} tokens/s {what}")
    print(f"  step      {last['seconds_per_step']:8.2f} s  {last['samples_per_second']:10.2f} samples/s")
    print(f"  memory    {last['memory_bytes'] / 2**30:8.2f} GiB held at most, {memory.total / 2**30:.2f} GiB planned")


def _device() -> list[str]:
    import torch

    return [torch.cuda.get_device_name()] if torch.cuda.is_available() else ["no GPU"]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
