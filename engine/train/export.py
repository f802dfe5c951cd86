"""The trained model as a Hugging Face folder. Where adapters were trained, they are merged into its weights.

The adapter itself stands in its folder `adapter`, as peft reads it, with the weights that were trained whole.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from engine.job import durable
from engine.job.durable import folder_hash
from engine.job.runtime import Runtime, explained
from engine.train.adapters import DEFAULT, adapter_weights, adapters_of, merged_weights, write_adapter

if TYPE_CHECKING:
    from engine.job.provenance import Provenance

ADAPTER = "adapter"  # the folder of the adapter in that of the model


def export_model(
    network: Any, tokenizer: Any, folder: Path, runtime: Runtime, provenance: Provenance | None = None
) -> str | None:
    """Write model, tokenizer and generation config to `folder`, complete or not at all. Called by all ranks.

    provenance: on rank 0, what the folder tells of where it comes from.

    Returns:
        on rank 0 the SHA-256 of the folder (`folder_hash`), None elsewhere.

    Raises:
        RunFailed: if it cannot be written.
    """
    with explained("exporting the model"):
        weights, adapter = full_weights(network, runtime), _adapter(network)
        digest = None
        if runtime.is_main:
            temporary = folder.with_name(f".tmp-{folder.name}")
            shutil.rmtree(temporary, ignore_errors=True)
            network.save_pretrained(temporary, state_dict=weights)
            tokenizer.save_pretrained(temporary)
            if adapter:
                base = str(network.name_or_path)
                own, sha256 = temporary / ADAPTER, _hash_of(base, provenance)
                write_adapter(own, network, adapter, base=base, base_sha256=sha256)
            if provenance is not None:
                provenance.write(temporary)
            for file in durable.files_below(temporary):
                durable.sync(file)
            durable.sync_folders(temporary)
            digest = folder_hash(temporary)
            durable.replace_folder(temporary, folder)
        runtime.barrier()
    return digest


def full_weights(network: Any, runtime: Runtime) -> dict[str, Tensor]:
    """Return all weights on the CPU on rank 0, nothing elsewhere, gathering one parameter at a time under ZeRO 3.

    Tied weights stay one tensor under several names. An adapter is merged into the weights under it.
    """
    weights: dict[str, Tensor] = {}
    for names, tensor in merged_weights(network):
        if runtime.is_main:
            weights |= dict.fromkeys(names, tensor.to("cpu", copy=True))
    return weights


def _adapter(network: Any) -> dict[str, Tensor]:
    """Return the weights of the adapter on the CPU, or nothing if there is none. They are few."""
    if DEFAULT not in adapters_of(network):
        return {}
    return {name: weight.to("cpu", copy=True) for name, weight in adapter_weights(network)}


def _hash_of(base: str, provenance: Provenance | None) -> str | None:
    """Return the SHA-256 of the folder under the adapter, as it was when the run began, if the provenance knows it."""
    read = {} if provenance is None else provenance.document.get("parents", {})
    known = {parent["path"]: parent["sha256"] for parent in read.values()}
    return known[base] if base in known else folder_hash(Path(base))
