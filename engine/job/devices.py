"""The device that a rank computes on, or one sentence on why it cannot have its GPU."""

from __future__ import annotations

import torch

from engine.errors import PlumblineError, Refused, RunFailed

_SEE = "nvidia-smi shows its state, and which processes hold it."


def take_gpu(number: int) -> torch.device:
    """Return a GPU of this node, on which this process then computes.

    Raises:
        Refused: if this process sees no GPU of that number.
        RunFailed: if another process has it for itself, or it is broken.
        RuntimeError: torch's own, if its memory is full.
    """
    device, gpus = torch.device("cuda", number), torch.cuda.device_count()
    if number >= gpus:
        raise Refused(
            f"this rank is to take GPU {number}, and sees {gpus}, counted from 0.",
            hint="Give the node no more slots in the hostfile than it has GPUs, and let each rank see all of them.",
        )
    try:
        torch.cuda.set_device(device)
        torch.zeros(1, device=device)  # whether it computes shows when it does
    except RuntimeError as error:
        if "out of memory" in str(error):
            raise  # engine/train/exhaustion.py tells of it
        raise gpu_failure(str(error), number) from error
    return device


def gpu_failure(message: str, number: int) -> RunFailed:
    """Return what to say where CUDA does not give the GPU. message: of torch."""
    lines = _lines(message)
    return RunFailed(f"GPU {number} cannot be used: {lines[0] if lines else 'no reason is given'}", hint=_SEE)


def nccl_failure(message: str) -> PlumblineError | None:
    """Return what to say where NCCL found no way with this rank's own GPU; None if it is about something else.

    Its last line tells what happened; the first only that something did.
    """
    lines = _lines(message)
    if "unhandled cuda error" not in message.lower():
        return None
    return RunFailed(f"NCCL cannot use this rank's GPU: {lines[-1]}", hint=_SEE)


def _lines(message: str) -> list[str]:
    return [line.strip() for line in message.splitlines() if line.strip()]
