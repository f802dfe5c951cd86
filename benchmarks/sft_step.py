"""An optimiser step of fine-tuning: tokens a second, arithmetic, and each moment's memory beside the plan.

python benchmarks/sft_step.py                                             a tiny shape, on whatever is here
python benchmarks/sft_step.py --shape 1.3b --rows 8 --checkpointing       a random-weight Llama: a GPU of 40 GB
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import describe
from random_model import SHAPES, WORDS, make_model

GIBI = 1 << 30
MICRO_STEPS = 2
# Dense bf16 arithmetic of an H100 with SXM, operations a second: NVIDIA's data sheet.
PEAK = 989e12


def main() -> int:
    """Make model and data, take the steps in a process of their own, and print what they took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--model", type=Path, help="folder of an earlier one of that shape")
    parser.add_argument("--rows", type=int, default=4, help="of a micro-batch")
    parser.add_argument("--length", type=int, default=None, help="tokens of a row")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--zero-stage", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        return measure(arguments.measure, arguments.steps)
    length = arguments.length or (64 if arguments.shape == "tiny" else 1024)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = arguments.model or folder / "model"
        if not model.exists():
            make_model(arguments.shape, model, positions=length)
        spec = prepare(folder, model, arguments, length)
        command = [sys.executable, __file__, "--measure", str(spec), "--steps", str(arguments.steps)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            print(run.stderr[-3000:], file=sys.stderr)
            return run.returncode
        report(spec, arguments, length, json.loads(run.stdout.splitlines()[-1]))
    return 0


def prepare(folder: Path, model: Path, arguments: argparse.Namespace, length: int) -> Path:
    """Write rows of one length and the spec; return the spec's path."""
    import torch

    cuda = torch.cuda.is_available()
    draw = random.Random(0)
    rows = [{"text": " ".join(draw.choices(WORDS, k=length - 1))} for _ in range(4 * MICRO_STEPS * arguments.rows)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec: dict[str, Any] = {
        "kind": "sft",
        "model": {"path": str(model.resolve())},
        "data": {"train": "rows.jsonl", "format": "text", "loss_on": "all", "max_length": length},
        "train": {
            "steps": 1000,
            "batch_size": MICRO_STEPS * arguments.rows,
            "micro_batch_size": arguments.rows,
            "precision": "bf16" if cuda else "fp32",
            "zero_stage": arguments.zero_stage,
            "gradient_checkpointing": arguments.checkpointing,
        },
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec))
    return path


def load(path: Path) -> Any:
    """Return the spec with absolute paths."""
    from engine.spec.loading import load_spec
    from engine.spec.resolve import with_absolute_paths

    return with_absolute_paths(load_spec(path), path.parent)


def measure(path: Path, steps: int) -> int:
    """Take the steps here, without the end of a run, and print what they took as a line of JSON."""
    from engine.job import environment

    environment.prepare()
    from engine.job import runtime

    runtime.choose_accelerator()
    import torch

    from engine.job.journal import Journal
    from engine.job.stopping import StopRequest
    from engine.train.sft import trainer as make_trainer

    spec, run_dir = load(path), path.parent / "run"
    run_dir.mkdir()
    ranks = runtime.start(60)
    cuda = ranks.device.type == "cuda"
    found: dict[str, float] = {}

    def peak(name: str) -> None:
        """Note the most that was allocated since the last note."""
        if cuda:
            torch.cuda.synchronize()
            found[name] = max(found.get(name, 0), torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()

    with Journal(run_dir, 1, speaks=False) as journal:
        trainer = make_trainer(spec, run_dir, ranks, journal)
        trainer.state = trainer._fresh_state()
        peak("start")
        step_optimizer = trainer.learner.step

        def step() -> float:
            peak("backward")
            norm: float = step_optimizer()
            peak("step")
            return norm

        trainer.learner.step = step  # type: ignore[method-assign]
        for number in range(1, steps + 1):
            began = time.perf_counter()
            outcome = trainer.take_step(number, StopRequest())
            if cuda:
                torch.cuda.synchronize()
            found["seconds"] = time.perf_counter() - began  # of the last one
            found["tokens"] = outcome.tokens
            trainer.state = replace(trainer.state, rows_seen=trainer.state.rows_seen + outcome.rows)
        found["loss"] = outcome.metrics["loss"]
        if cuda:
            found["reserved"], found["device"] = torch.cuda.max_memory_reserved(), gpu_held(os.getpid())
            found["held"] = torch.cuda.memory_allocated()
    print(json.dumps(found), flush=True)
    runtime.leave(0)


def gpu_held(process: int) -> int:
    """Return the bytes that a process holds of GPUs, by their driver."""
    ask = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    return sum(int(held) << 20 for pid, held in (line.split(",") for line in told.splitlines()) if int(pid) == process)


def operations(shape: Any, tokens: float, length: int) -> float:
    """Return the arithmetic of a step, without what is recomputed: 6 for each weight that multiplies, and attention."""
    multiplied = shape.parameters - shape.vocabulary * shape.hidden
    return tokens * (6 * multiplied + 6 * shape.layers * shape.query * length)


def report(path: Path, arguments: argparse.Namespace, length: int, found: dict[str, float]) -> None:
    """Print what was measured beside the plan."""
    from engine.plan.place import place_of
    from engine.plan.reading import plan_run

    spec = load(path)
    planned = plan_run(spec, place_of([1], local=True))
    memory, train = planned.memory, spec.train
    amounts = memory.amounts
    print(describe(*_device()))
    recomputes = "on" if train.gradient_checkpointing else "off"
    print(
        f"SFT, {arguments.shape} Llama of {planned.parameters:,} parameters, {train.precision}, "
        f"ZeRO {train.zero_stage}, gradient checkpointing {recomputes}, {MICRO_STEPS} micro-batches of "
        f"{arguments.rows} × {length} tokens a step, one rank"
    )
    rate = operations(planned.roles[0].network.shape, found["tokens"], length) / found["seconds"]
    print(f"  step       {found['seconds']:8.3f} s   {found['tokens'] / found['seconds']:10,.0f} tokens/s")
    if "device" not in found:
        return
    share = f"{100 * rate / PEAK:.1f} % of {PEAK / 1e12:.0f}"
    print(f"  arithmetic {rate / 1e12:8.1f} TFLOP/s, what is recomputed not counted: {share}")
    parts = memory.peak.parts
    tensors = memory.total - parts["overhead"].total
    states = amounts.weights + amounts.gradients + amounts.optimizer
    print("  GiB                              planned   measured   planned / measured")
    for name, plan, real in (
        ("held between steps", states, found["held"]),
        ("most tensors", tensors, max(found["backward"], found["step"])),
        ("the process, by the driver", memory.total, found["device"]),
    ):
        print(f"    {name:<28} {plan / GIBI:9.2f}  {real / GIBI:9.2f}   {plan / real:9.3f}")
    rows = [(name, found[name]) for name in ("start", "backward", "step", "reserved")]
    print("    measured: " + ", ".join(f"{name} {amount / GIBI:.2f}" for name, amount in rows))
    print("    planned:  " + ", ".join(f"{n} {getattr(amounts, n) / GIBI:.2f}" for n in amounts.__slots__))
    print(f"    context and what is no tensor: {(found['device'] - found['reserved']) / GIBI:.2f} GiB")


def _device() -> list[str]:
    import torch

    return [torch.cuda.get_device_name()] if torch.cuda.is_available() else ["no GPU"]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
