"""What an accelerator's memory was full of, when it was."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import Unforeseen
from engine.plan.sizes import in_words, parse_size

_WANTED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?([KMGT]?i?B)")
_DRIVERS_WORDS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_DEEPEST = 5  # levels of lists and dicts in an optimiser


@dataclass(frozen=True, slots=True)
class Contents:
    """Bytes of a device's memory, by what holds them."""

    weights: int
    gradients: int
    optimizer: int  # states, and the weights that it keeps in higher precision

    @classmethod
    def of(cls, objects: Iterable[object], device: torch.device) -> Contents:
        """Count what the networks and optimisers among some objects hold; what is shared counts once."""
        networks, optimizers = [], []
        for found in objects:
            kind = type(found)  # isinstance would wake up the lazy modules of libraries
            if issubclass(kind, nn.Module):
                networks.append(found)
            elif issubclass(kind, torch.optim.Optimizer) or _is_deepspeeds(kind):
                optimizers.append(found)
        seen: set[int] = set()
        parameters = [tensor for network in networks for tensor in _tensors_of(network)]
        weights = _bytes(parameters, device, seen)
        kept = [(name, tensor) for optimizer in optimizers for name, tensor in _kept_by(optimizer)]
        gradients = [tensor.grad for tensor in (*parameters, *(tensor for _, tensor in kept)) if tensor.is_leaf]
        gradients += [tensor for name, tensor in kept if "grad" in name]
        return cls(weights, _bytes(gradients, device, seen), _bytes([tensor for _, tensor in kept], device, seen))


def exhausted(error: BaseException, step: int) -> Unforeseen | None:
    """Return what to say of an error that came of a full memory; None if it is another. Never raises.

    step: that was taken; 0 before the first.
    """
    cause: BaseException | None = error
    while cause is not None and not _is_of_memory(cause):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    try:
        told = _sentence(str(cause), step)
    except Exception:  # a process that got no memory at all cannot ask either; the error itself must be told
        told = f"CUDA out of memory {_where(step)}: the GPU has no room for this process."
        return Unforeseen(told, hint="Others hold it: nvidia-smi shows who, and engine cluster check.")
    return Unforeseen(told, hint="Lower train.micro_batch_size or the lengths, or raise train.zero_stage.")


def _is_of_memory(error: BaseException) -> bool:
    """Whether torch's allocator found no memory, or the driver itself, as when others fill the GPU before we begin."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _DRIVERS_WORDS)
    )


def _sentence(message: str, step: int) -> str:
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    if cuda or "CUDA error" in message:  # which raises where there is no room for a context
        free, total = torch.cuda.mem_get_info(device)
        used = total - free
    else:
        page = os.sysconf("SC_PAGE_SIZE")
        total, used = os.sysconf("SC_PHYS_PAGES") * page, 0
    return words(message, step, Contents.of(gc.get_objects(), device), used=used, total=total, device=device.type)


def words(message: str, step: int, contents: Contents, *, used: int, total: int, device: str) -> str:
    """Return one sentence on what the memory was full of. message: torch's; used, total: bytes of the device."""
    wanted = _WANTED.search(message)
    tried = f"tried to allocate {in_words(parse_size(wanted[1] + wanted[2]))}; " if wanted else ""
    other = max(0, used - contents.weights - contents.gradients - contents.optimizer)
    return (
        f"{device.upper()} out of memory {_where(step)}: {tried}of {in_words(total)}, "
        f"{in_words(contents.weights)} were weights, {in_words(contents.gradients)} gradients, "
        f"{in_words(contents.optimizer)} optimiser states, "
        f"{in_words(other)} other."
    )


def _where(step: int) -> str:
    return f"at step {step}" if step else "before the first step"


def _is_deepspeeds(kind: type) -> bool:
    return str(kind.__module__).startswith("deepspeed.runtime") and kind.__name__.endswith(("Optimizer", "Stage3"))


def _tensors_of(network: Any) -> Iterator[Tensor]:
    held = vars(network)  # one that is being built may lack them
    for tensor in (*held.get("_parameters", {}).values(), *held.get("_buffers", {}).values()):
        if tensor is not None:
            yield tensor
            partition = getattr(tensor, "ds_tensor", None)  # of this rank, under ZeRO 3
            if isinstance(partition, Tensor):
                yield partition


def _kept_by(optimizer: Any) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(optimizer).items():
        for tensor in _tensors_in(value, _DEEPEST):
            yield name, tensor


def _tensors_in(value: Any, levels: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif levels and isinstance(value, Mapping):
        for inner in list(value.values()):
            yield from _tensors_in(inner, levels - 1)
    elif levels and isinstance(value, list | tuple | set):
        for inner in list(value):
            yield from _tensors_in(inner, levels - 1)


def _bytes(tensors: Iterable[Tensor | None], device: torch.device, seen: set[int]) -> int:
    total = 0
    for tensor in tensors:
        if tensor is None or tensor.device.type != device.type or (device.index or 0) != (tensor.device.index or 0):
            continue
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total
