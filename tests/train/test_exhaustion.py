"""A full memory is told in one line: what was wanted, and what held the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.errors import RunFailed
from engine.train.exhaustion import Contents, exhausted, words
from tests.train.conftest import MakeSpec

# As torch 2.11 said them on an H200: the allocator's, and the driver's, when others had filled the GPU before.
TORCHS = (
    "CUDA out of memory. Tried to allocate 1024.00 MiB. GPU 0 has a total capacity of 139.80 GiB of which 293.12 MiB "
    "is free. Including non-PyTorch memory, this process has 139.51 GiB memory in use. Of the allocated memory 139.00 "
    "GiB is allocated by PyTorch, and 0 bytes is reserved by PyTorch but unallocated."
)
DRIVERS = (
    "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs.nvidia.com/cuda for more "
    "information.\nCUDA kernel errors might be asynchronously reported at some other API call"
)
# A trainer whose second step finds no memory; with the frames that hold its tensors, as on a GPU.
FULL = f"""
import sys
from pathlib import Path
import torch
from engine.job import environment
environment.prepare()
from engine.job import runtime
runtime.choose_accelerator()
from engine.train.learner import Learner
from engine.train.main import train
step, taken = Learner.step, []
def full(self):
    taken.append(1)
    if len(taken) == 2:
        raise torch.OutOfMemoryError({TORCHS!r})
    return step(self)
Learner.step = full
train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_the_sentence_names_every_kind_of_memory() -> None:
    contents = Contents(weights=71_000_000_000, gradients=2_100_000_000, optimizer=4_000_000_000)
    said = words(TORCHS, 412, contents, used=79_000_000_000, total=79_100_000_000, device="cuda")
    assert said == (
        "CUDA out of memory at step 412: tried to allocate 1.1 GB; of 79.1 GB, 71.0 GB were weights, "
        "2.1 GB gradients, 4.0 GB optimiser states, 1.9 GB other."
    )
    assert "before the first step: of 79.1 GB" in words("", 0, contents, used=0, total=79_100_000_000, device="cuda")


def test_each_byte_of_networks_and_optimisers_counts_once() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    network[1].weight = network[0].weight  # tied
    network.register_buffer("twice", network[0].bias.detach())
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    size = 4 * (8 * 8 + 8 + 8)
    found = Contents.of([*network.modules(), network, optimizer, "else"], torch.device("cpu"))
    assert (found.weights, found.gradients) == (size, size)
    assert found.optimizer == 2 * size + 3 * 4  # two moments, and a step a tensor
    assert Contents.of([network], torch.device("meta")) == Contents(0, 0, 0)


def test_a_gpu_that_others_filled_is_told_too_and_other_errors_are_none_of_memory() -> None:
    told = exhausted(torch.AcceleratorError(DRIVERS), 0)
    assert str(told).startswith("CUDA out of memory before the first step: the GPU has no room for this process. ")
    assert exhausted(RunFailed("else"), 3) is None
    assert exhausted(RuntimeError("CUDA error: device-side assert triggered"), 3) is None


@pytest.mark.parametrize("stage", [2, 3])
def test_a_trainer_ends_with_one_line_below_the_traceback(make_spec: MakeSpec, tmp_path: Path, stage: int) -> None:
    spec = make_spec(zero_stage=stage, precision="bf16")
    environ = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(Path.cwd())}
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(spec), str(tmp_path)],
        env=environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 1
    *above, last = ran.stderr.splitlines()
    assert last.startswith("error: CPU out of memory at step 2: tried to allocate 1.1 GB; of ")
    assert above.count("Traceback (most recent call last):") >= 1 and any("OutOfMemoryError" in line for line in above)
    weights, gradients, optimizer = map(float, re.findall(r"([\d.]+) kB", last))
    # bf16 weights; gradients, master weights and two moments in fp32.
    assert (gradients / weights, optimizer / weights) == pytest.approx((2.0, 6.0), rel=0.01)
