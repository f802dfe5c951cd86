"""Optimiser states that ZeRO 3 keeps on a disk, in checkpoints.

DeepSpeed 0.19 copies the files on the disk into a checkpoint and back, but leaves out what stands beside them: after
loading, the step counter, the loss scale and all sub-groups that are too small for the disk are those of a new run.
Here each rank saves its states itself, one sub-group at a time, and loads them into the engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.errors import Refused
from engine.job import durable


def on_disk(engine: Any) -> bool:
    """Whether an engine keeps optimiser states on a disk."""
    return bool(engine.zero_nvme_offload_optimizer())


def save_states(engine: Any, folder: Path, rank: int) -> None:
    """Write the states of this rank below `folder`, where DeepSpeed has saved the engine, and drop its copy of them."""
    target = folder / _name(rank)
    target.mkdir()
    optimizer = engine.optimizer
    _save({"loss_scaler": _plain(optimizer.loss_scaler)}, target / "scaler.pt")
    for index in range(len(optimizer.fp16_groups)):
        _fetch(optimizer, index)
        master = optimizer.fp32_partitioned_groups_flat[index]
        state = {name: value.clone() for name, value in optimizer.optimizer.state[master].items()}
        _save({"master": master.detach().clone(), "state": state}, target / f"{index}.pt")
        _put_back(optimizer, index)
    for copied in durable.files_below(folder / "offloaded_tensors" / f"rank{rank:02d}"):
        copied.unlink()


def require_same_ranks(folder: Path, *, same_ranks: bool) -> None:
    """Raise Refused if states of a disk were saved on another number of ranks."""
    if not same_ranks:
        raise Refused(
            "optimiser states that were on disks (train.nvme_path) cannot be spread over another number of ranks.",
            hint="Resume on as many ranks, or start a new run from the exported model.",
            where=str(folder),
        )


def load_states(engine: Any, folder: Path, rank: int) -> None:
    """Put the states that `save_states` wrote into an engine that DeepSpeed has loaded the rest of."""
    source = folder / _name(rank)
    optimizer = engine.optimizer
    optimizer.checkpoint_event_prologue()  # small weights stand whole on each rank: as they were
    vars(optimizer.loss_scaler).update(torch.load(source / "scaler.pt", weights_only=True)["loss_scaler"])
    for index in range(len(optimizer.fp16_groups)):
        saved = torch.load(source / f"{index}.pt", weights_only=True)
        _fetch(optimizer, index)
        master = optimizer.fp32_partitioned_groups_flat[index]
        master.data.copy_(saved["master"])
        optimizer.optimizer.state[master].update(saved["state"])
        optimizer._reassign_or_swap_out_partitioned_parameters(index)  # the weights of the forward pass
        _put_back(optimizer, index)
    optimizer.checkpoint_event_epilogue()  # as they are now


def _name(rank: int) -> str:
    return f"states-rank-{rank}"


def _save(content: dict[str, Any], file: Path) -> None:
    torch.save(content, file)
    durable.sync(file)


def _plain(scaler: Any) -> dict[str, float]:
    return {name: value for name, value in vars(scaler).items() if isinstance(value, int | float)}


def _fetch(optimizer: Any, index: int) -> None:
    if optimizer._swappable_optimizer_subgroup(index):
        optimizer._optimizer_states_and_gradient_swap_in(index)


def _put_back(optimizer: Any, index: int) -> None:
    if optimizer._swappable_optimizer_subgroup(index):
        optimizer._optimizer_states_and_gradient_swap_out(index)
