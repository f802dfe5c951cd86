"""Run as a program: count the bytes of all tensors that ranks of DeepSpeed hold, for each of some settings.

    state_census.py CONFIG.json '[[{"zero_stage": 2, …}, WORLD], …]'

prints one JSON line a setting, of rank 0: {"parameters": N, "weights": BYTES, "optimizer": BYTES, "rest": BYTES,
"checkpoint": BYTES}, each after the micro-step of an optimiser step at which it is largest; the checkpoint is that of
all ranks.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.train import environment

_BUCKET = 500_000_000  # elements of DeepSpeed's reduction buffer, of which a CPU takes what is written only


def _tensors(engine: Any, torch: Any) -> Iterator[tuple[str, Any]]:
    """Yield all tensors there are, those of known meaning first."""
    for parameter in engine.module.parameters():
        yield "weights", parameter.data
        if (partition := getattr(parameter, "ds_tensor", None)) is not None:
            yield "weights", partition
        if parameter.grad is not None:
            yield "rest", parameter.grad
    for state in engine.basic_optimizer.state.values():
        for value in state.values():
            if torch.is_tensor(value):
                yield "optimizer", value
    masters = [*getattr(engine.optimizer, "fp32_partitioned_groups_flat", [])]
    for parameter in masters or [p for group in engine.basic_optimizer.param_groups for p in group["params"]]:
        yield "optimizer", parameter
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            yield "rest", thing


def _census(engine: Any, torch: Any) -> dict[str, int]:
    gc.collect()  # what only a cycle holds is gone at the next collection
    sizes = {"weights": 0, "optimizer": 0, "rest": 0}
    seen: set[int] = set()
    for meaning, tensor in _tensors(engine, torch):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen and storage.nbytes() < 2 * _BUCKET:
            seen.add(storage.data_ptr())
            sizes[meaning] += storage.nbytes()
    return sizes


def _measure(config: Mapping[str, Any], settings: Mapping[str, Any], world: int, folder: Path) -> dict[str, int]:
    import deepspeed
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from engine.spec.sections import Train
    from engine.train import models, runtime
    from engine.train.deepspeed_config import deepspeed_config

    runtime.start(60)
    train = Train(**settings)
    torch.manual_seed(0)
    network = LlamaForCausalLM(LlamaConfig(**config))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    engine, *_ = deepspeed.initialize(
        model=network,
        optimizer=torch.optim.AdamW(models.parameter_groups(network, 0.0), lr=0.0),
        config=deepspeed_config(train, world_size=world, micro_steps=2),
        dist_init_required=False,
    )
    counts: list[list[dict[str, int]]] = [[], []]  # of each micro-step, in the steps after the first
    ids = torch.ones((1, 4), dtype=torch.int64)
    for step in range(4):
        for micro_step in range(2):
            engine.backward(engine(input_ids=ids, labels=ids, use_cache=False).loss, scale_wrt_gas=False)
            if step:
                counts[micro_step].append(_census(engine, torch))
            engine.step()
    # A thread of gloo may hold what it has just sent a little longer, which is no part of the plan: hence the least.
    least = [{meaning: min(count[meaning] for count in found) for meaning in found[0]} for found in counts]
    largest = {meaning: max(found[meaning] for found in least) for meaning in least[0]}
    engine.save_checkpoint(str(folder), tag="it")
    torch.distributed.barrier()
    checkpoint = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"parameters": parameters, "checkpoint": checkpoint, **largest}


def _rank(config: Mapping[str, Any], settings: Mapping[str, Any], world: int, folder: Path) -> int:
    try:
        found = _measure(config, settings, world, folder)
        if os.environ["RANK"] == "0":
            os.write(3, json.dumps(found).encode() + b"\n")
        return 0
    except BaseException as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1


def _serve(config: Mapping[str, Any], cases: list[tuple[dict[str, Any], int]]) -> None:
    import deepspeed.module_inject
    import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()  # what was imported need not be gone through again
    for settings, world in cases:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        os.environ |= {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with tempfile.TemporaryDirectory() as folder:
            pids = []
            for rank in range(world):
                if (pid := os.fork()) == 0:
                    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                    os._exit(_rank(config, settings, world, Path(folder)))
                pids.append(pid)
            for pid in pids:
                os.waitpid(pid, 0)


if __name__ == "__main__":
    environment.prepare(os.environ)
    os.dup2(1, 3)  # the answers; DeepSpeed prints on the other
    os.dup2(2, 1)
    _serve(json.loads(Path(sys.argv[1]).read_text()), json.loads(sys.argv[2]))
