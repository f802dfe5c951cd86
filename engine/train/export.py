"""The trained model as a Hugging Face folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.train import durable
from engine.train.runtime import Runtime, explained

_BLOCK_BYTES = 1 << 20


def export_model(engine: Any, tokenizer: Any, folder: Path, runtime: Runtime) -> str | None:
    """Write model, tokenizer and generation config to `folder`, complete or not at all. Called by all ranks.

    Returns:
        on rank 0 the SHA-256 of the folder (`folder_hash`), None elsewhere.

    Raises:
        RunFailed: if it cannot be written.
    """
    with explained("exporting the model"):
        weights = full_weights(engine.module, runtime)
        digest = None
        if runtime.is_main:
            temporary = folder.with_name(f".tmp-{folder.name}")
            shutil.rmtree(temporary, ignore_errors=True)
            engine.module.save_pretrained(temporary, state_dict=weights)
            tokenizer.save_pretrained(temporary)
            for file in durable.files_below(temporary):
                durable.sync(file)
            durable.sync_folders(temporary)
            digest = folder_hash(temporary)
            durable.replace_folder(temporary, folder)
        runtime.barrier()
    return digest


def full_weights(network: Any, runtime: Runtime) -> dict[str, Tensor]:
    """Return all weights on the CPU on rank 0, nothing elsewhere, gathering one parameter at a time under ZeRO 3.

    Tied weights stay one tensor under several names.
    """
    import deepspeed

    weights: dict[str, Tensor] = {}
    seen: dict[int, Tensor] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
            if runtime.is_main:
                if id(tensor) not in seen:
                    seen[id(tensor)] = tensor.detach().to("cpu", copy=True)
                weights[name] = seen[id(tensor)]
    return weights


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 over the names and SHA-256 sums of all files of a folder, as `sha256sum` lists them."""
    listing = hashlib.sha256()
    for file in durable.files_below(folder):
        digest = hashlib.sha256()
        with file.open("rb") as content:
            while block := content.read(_BLOCK_BYTES):
                digest.update(block)
        listing.update(f"{digest.hexdigest()}  {file.relative_to(folder)}\n".encode())
    return listing.hexdigest()
