"""Run as a program: count the bytes of all tensors that ranks of DeepSpeed hold, for each of some cases.

    state_census.py CONFIG.json '[{"world": 2, "train": {"zero_stage": 2, …}, "lora": {…}, "critic": {…}}, …]'

trains a language model with these settings, with adapters if there is `lora`, and beside it a critic, the same blocks
with a score head, if there is `critic`, the settings that it has for itself. It prints one JSON line a case, of rank 0:
{"parameters": N, "trainable": N, "weights": BYTES, "optimizer": BYTES, "rest": BYTES, "checkpoint": BYTES}, the bytes
each after the micro-step of an optimiser step at which it is largest; the checkpoint is that of all ranks.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.job import environment
from tests.train.forkserver import IMPORTED

_BUCKET = 500_000_000  # elements of DeepSpeed's reduction buffer, of which a CPU takes what is written only


def _tensors(engines: Sequence[Any], torch: Any) -> Iterator[tuple[str, Any]]:
    """Yield all tensors there are, those of known meaning first."""
    for engine in engines:
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


def _census(engines: Sequence[Any], torch: Any) -> dict[str, int]:
    gc.collect()  # what only a cycle holds is gone at the next collection
    sizes = {"weights": 0, "optimizer": 0, "rest": 0}
    seen: set[int] = set()
    for meaning, tensor in _tensors(engines, torch):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen and storage.nbytes() < 2 * _BUCKET:
            seen.add(storage.data_ptr())
            sizes[meaning] += storage.nbytes()
    return sizes


def _learners(config: Mapping[str, Any], case: Mapping[str, Any]) -> list[Any]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    from engine.job import runtime
    from engine.spec.sections import Lora, Train
    from engine.train.adapters import with_adapters
    from engine.train.deepspeed_config import deepspeed_config
    from engine.train.learner import Learner

    ranks = runtime.start(60)
    settings: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = [(LlamaForCausalLM, case["train"], ())]
    if case.get("critic") is not None:
        settings.append((LlamaForSequenceClassification, {**case["train"], **case["critic"]}, ("score",)))
    learners = []
    for network_type, own, heads in settings:
        torch.manual_seed(0)
        network = network_type(LlamaConfig(**config, num_labels=1, pad_token_id=0))
        if case.get("lora") is not None:
            network = with_adapters(network, Lora(**case["lora"]), seed=0, keep=heads)
        train = Train(**own)
        learners.append(
            Learner(network, train, deepspeed_config(train, world_size=ranks.world_size, micro_steps=2), ranks)
        )
    return learners


def _numbers(learners: Sequence[Any]) -> dict[str, int]:
    sizes = [
        (getattr(parameter, "ds_numel", parameter.numel()), parameter.requires_grad)
        for learner in learners
        for parameter in learner.network.parameters()
    ]
    return {"parameters": sum(size for size, _ in sizes), "trainable": sum(size for size, trains in sizes if trains)}


def _measure(config: Mapping[str, Any], case: Mapping[str, Any], folder: Path) -> dict[str, int]:
    import torch

    learners = _learners(config, case)
    engines = [learner.engine for learner in learners]
    counts: list[list[dict[str, int]]] = [[], []]  # of each micro-step, in the steps after the first
    ids = torch.ones((1, 4), dtype=torch.int64)
    for step in range(4):
        for micro_step in range(2):
            for learner in learners:
                output = learner.engine(input_ids=ids, use_cache=False).logits
                learner.backward(output.float().square().mean(), last=micro_step == 1)
                del output
            if step:
                counts[micro_step].append(_census(engines, torch))
        for learner in learners:
            learner.step()
    # A thread of gloo may hold what it has just sent a little longer, which is no part of the plan: hence the least.
    least = [{meaning: min(count[meaning] for count in found) for meaning in found[0]} for found in counts]
    largest = {meaning: max(found[meaning] for found in least) for meaning in least[0]}
    for number, engine in enumerate(engines):
        engine.save_checkpoint(str(folder), tag=f"network-{number}")
    torch.distributed.barrier()
    checkpoint = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {**_numbers(learners), "checkpoint": checkpoint, **largest}


def _rank(config: Mapping[str, Any], case: Mapping[str, Any], folder: Path) -> int:
    try:
        found = _measure(config, case, folder)
        if os.environ["RANK"] == "0":
            os.write(3, json.dumps(found).encode() + b"\n")
        return 0
    except BaseException as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1


def _serve(config: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> None:
    for name in IMPORTED["train"]:
        importlib.import_module(name)

    import torch

    torch.set_num_threads(1)
    gc.freeze()  # what was imported need not be gone through again
    for case in cases:
        world = case["world"]
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        os.environ |= {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with tempfile.TemporaryDirectory() as folder:
            pids = []
            for rank in range(world):
                if (pid := os.fork()) == 0:
                    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                    os._exit(_rank(config, case, Path(folder)))
                pids.append(pid)
            for pid in pids:
                os.waitpid(pid, 0)


if __name__ == "__main__":
    environment.prepare(os.environ)
    os.dup2(1, 3)  # the answers; DeepSpeed prints on the other
    os.dup2(2, 1)
    _serve(json.loads(Path(sys.argv[1]).read_text()), json.loads(sys.argv[2]))
