"""Checks of a GPU's memory: what steps of large models take beside the plan, and what is told when it is full."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path

from gpu_runs import HERE, Runs

# Takes all memory but for some MiB, tells how that ended if it was to take all, and keeps it until it is ended.
HOG = """
import sys, torch
left, held, size = int(sys.argv[1]) << 20, [], 1 << 30
if left:
    torch.zeros(1, device="cuda")
    held.append(torch.empty(torch.cuda.mem_get_info()[0] - left, dtype=torch.uint8, device="cuda"))
while not left and size > 1 << 20:
    try:
        held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        if size == 1 << 30:
            print(f"{type(error).__name__}: {error}\\n\\n{torch.cuda.memory_summary(abbreviated=True)}")
        size //= 4
print("full", flush=True)
sys.stdin.read()
"""


def models(runs: Runs) -> None:
    """Models with random weights for the checks of memory."""
    runs.made = {shape: runs.pool.submit(model, runs, shape) for shape in ("1.3b", "5b", "13b")}


def model(runs: Runs, shape: str) -> Path:
    """Make one, and return its folder."""
    folder = runs.work / shape
    began = time.monotonic()
    runs.told[shape] = runs.ask(sys.executable, str(HERE / "random_model.py"), shape, str(folder), "1024")
    runs.told[shape] += f"made in {time.monotonic() - began:.0f} s\n"
    return folder


def memory(runs: Runs) -> None:
    """Steps of fine-tuning of 1.3B: memory beside the plan."""
    folder = str(runs.made["1.3b"].result())
    for more in (("--rows", "4"), ("--rows", "8", "--checkpointing")):
        runs.script("sft_step.py", "--shape", "1.3b", "--model", folder, *more)
    shutil.rmtree(folder)


def most_memory(runs: Runs) -> None:
    """A step of fine-tuning of 5B, nearly all of an H200: memory beside the plan."""
    folder = str(runs.made["5b"].result())
    runs.script("sft_step.py", "--shape", "5b", "--model", folder, "--checkpointing", "--steps", "3")
    shutil.rmtree(folder)


def reinforcing_step(runs: Runs) -> None:
    """A step of PPO of 13B."""
    folder, limit = str(runs.made["13b"].result()), str(min(150.0, runs.left - 15))
    size = ("--shape", "13b", "--prompts", "64", "--steps", "2")
    runs.script("ppo_step.py", "--model", folder, *size, "--seconds", limit)
    shutil.rmtree(folder)


def faults(runs: Runs) -> None:
    """A run that takes too much, and one that finds the GPU full: what a person is told."""
    rows = 150000
    spec = runs.specs.sft(data={"loss_on": "all"}, steps=1, batch_size=rows, micro_batch_size=rows)
    ran = runs.train("out of memory", spec)
    print(f"too much: ended with {ran.code}: {ran.error}")
    for left in (0, 700, 1400, 1900):
        hog = subprocess.Popen(
            [sys.executable, "-c", HOG, str(left)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert hog.stdout is not None
            text = "".join(takewhile(lambda line: line != "full\n", hog.stdout))
            if text:
                (runs.out / "out-of-memory.txt").write_text(text)
                print(text.partition("\n")[0])
            ran = runs.train(f"{left} MiB left", runs.specs.sft(steps=1, precision="bf16"))
            print(f"{left} MiB left: ended with {ran.code}: {ran.error}", flush=True)
        finally:
            hog.kill()
            hog.wait()
