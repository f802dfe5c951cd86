"""Where a run runs, as far as its memory is concerned."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_GPU = 80 * 10**9  # bytes; what a GPU of the nodes is taken to have where nobody says

_ASK_SECONDS = 10.0  # longest wait for the driver of the GPUs
_ASK = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")  # in MiB


@dataclass(frozen=True, slots=True)
class Place:
    """The ranks of a run, and what each may take."""

    slots: tuple[int, ...]  # ranks of each node
    capacity: int  # bytes a rank: of its GPU, or its share of the node
    on_cpu: bool = False  # host and device memory are one
    assumed: bool = False  # nobody said what a GPU has

    @property
    def ranks(self) -> int:
        """Ranks of the run."""
        return sum(self.slots)


def place_of(slots: Sequence[int], *, local: bool, gpu_memory: int | None = None) -> Place:
    """Return the place of a run.

    Args:
        slots: ranks of each node.
        local: whether this machine is the only node; without `gpu_memory` its own GPUs count, or its RAM without any.
        gpu_memory: bytes of one GPU.
    """
    if local and gpu_memory is None:
        gpu_memory = gpu_memory_here()
        if gpu_memory is None:
            return Place(tuple(slots), _ram() // max(slots), on_cpu=True)
    return Place(tuple(slots), gpu_memory or DEFAULT_GPU, assumed=gpu_memory is None)


def gpu_memory_here() -> int | None:
    """Return the bytes of the smallest NVIDIA GPU of this machine; None if it has none, or is to compute without."""
    if os.environ.get("DS_ACCELERATOR") == "cpu" or not any(Path("/dev").glob("nvidia[0-9]*")):
        return None
    try:
        answer = subprocess.run(_ASK, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True).stdout
        return min(int(line) for line in answer.split()) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _ram() -> int:
    """Return the bytes of memory that this machine, or the container around us, has."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(size, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or "max"
        return size
