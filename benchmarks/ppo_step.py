"""A PPO step with adapters over one shared base: seconds and tokens a second by phase, memory beside the plan.

python benchmarks/ppo_step.py                       a tiny shape, on whatever is here
python benchmarks/ppo_step.py --shape 13b --prompts 64    a random-weight 13B Llama: 80 GB of a GPU, 26 GB of disk

The run is ended after its steps: what a checkpoint and the export take is not measured.
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
from pathlib import Path
from typing import Any

from machine import describe
from random_model import SHAPES, WORDS, make_model


def main() -> int:
    """Make the model and the prompts, run the steps in a process of their own, and print what they took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--model", type=Path, help="folder of an earlier one of that shape")
    parser.add_argument("--tokens", type=int, default=None, help="of each prompt and of each answer")
    parser.add_argument("--prompts", type=int, default=16, help="answers a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3600.0, help="longest wait for the steps")
    arguments = parser.parse_args()
    tokens = arguments.tokens or (256 if arguments.shape != "tiny" else 32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = arguments.model or folder / "model"
        if not model.exists():
            make_model(arguments.shape, model, positions=2 * tokens + 8)
        spec = prepare(folder, model, tokens, arguments.prompts)
        with (folder / "errors").open("wb") as errors:
            run = subprocess.Popen(
                [sys.executable, "-m", "engine.cli", "train", str(spec), "--run-dir", str(folder / "run")],
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            taken = wait(run, folder / "run", arguments.steps, time.monotonic() + arguments.seconds)
            held = gpu_held()
            run.kill()
            run.wait()
        if not taken:
            print((folder / "errors").read_text()[-2000:], file=sys.stderr)
            print("the steps did not come in time" if run.returncode < 0 else "the run failed", file=sys.stderr)
            return 1
        report(spec, arguments.shape, tokens, arguments.prompts, held)
    return 0


def steps_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the metrics of the steps that were taken."""
    file = run_dir / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record["metrics"] for record in records if "train_seconds" in record.get("metrics", {})]


def wait(run: subprocess.Popen[bytes], run_dir: Path, steps: int, deadline: float) -> bool:
    """Wait until a run has taken so many steps, and return whether it has."""
    while len(steps_of(run_dir)) < steps:
        if run.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def gpu_held() -> float | None:
    """Return the bytes that are taken of the first GPU, by whatever runs there; None without one."""
    ask = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return float(subprocess.run(ask, capture_output=True, text=True, check=True).stdout) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def prepare(folder: Path, model: Path, tokens: int, prompts: int) -> Path:
    """Write prompts of one length, and the spec; return the spec's path."""
    import torch

    cuda = torch.cuda.is_available()
    draw = random.Random(0)
    rows = [{"prompt": " ".join(draw.choices(WORDS, k=tokens - 3)), "response": "w0"} for _ in range(2 * prompts)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec: dict[str, Any] = {
        "kind": "ppo",
        "model": {"path": str(model.resolve()), "lora": {"rank": 16}},
        "rewards": {"length": {"kind": "length", "target": tokens}},
        "data": {"train": "prompts.jsonl", "max_prompt_length": tokens + 8, "max_response_length": tokens},
        "rollout": {"prompts": prompts, "batch_size": prompts},
        "critic": {"share_base": True},
        "ppo": {"truncation": "keep"},
        "train": {
            "steps": 1000,  # more than are waited for
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


def report(path: Path, shape: str, tokens: int, prompts: int, held: float | None) -> None:
    """Print the last step's figures beside the plan's memory."""
    from engine.plan.place import place_of
    from engine.plan.reading import plan_run
    from engine.spec.loading import load_spec
    from engine.spec.models import PpoSpec
    from engine.spec.resolve import with_absolute_paths

    last = steps_of(path.parent / "run")[-1]
    spec = with_absolute_paths(load_spec(path), path.parent)
    assert isinstance(spec, PpoSpec)
    planned = plan_run(spec, place_of([1], local=True))
    memory, parameters = planned.memory, planned.roles[0].network.parameters
    print(describe(*_device()))
    print(
        f"PPO, {shape} Llama of {parameters:,} parameters, adapters over one base, {prompts} answers of "
        f"{tokens} + {tokens} tokens a step, one rank"
    )
    answered = prompts * last["response_length"]
    read = prompts * (tokens + last["response_length"])
    # Operations a token and weight: 2 to compute, 2 more for the gradient of what it computes from; that of frozen
    # weights is not made. Policy, critic and reference score; policy and critic train. What is recomputed, and
    # attention, is not counted.
    for phase, count, what, passes in (
        ("generate", answered, "written", 2),
        ("score", read, "read", 3 * 2),
        ("train", read, "trained on", 2 * 4),
    ):
        seconds = last[f"{phase}_seconds"]
        rate = passes * parameters * count / seconds
        print(f"  {phase:<9} {seconds:8.2f} s  {count / seconds:10,.0f} tokens/s {what:<10} {rate / 1e12:8.2f} TFLOP/s")
    print(f"  step      {last['seconds_per_step']:8.2f} s  {last['samples_per_second']:10.2f} samples/s")
    on_gpu = "" if held is None else f", {held / 2**30:.2f} GiB of the GPU taken"
    print(
        f"  memory    {last['memory_bytes'] / 2**30:8.2f} GiB held at most{on_gpu}; {memory.total / 2**30:.2f} planned"
    )
    print("  planned   " + ", ".join(f"{name} {size / 2**30:.2f}" for name, size in memory.phases.items()) + " GiB")


def _device() -> list[str]:
    import torch

    return [torch.cuda.get_device_name()] if torch.cuda.is_available() else ["no GPU"]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
