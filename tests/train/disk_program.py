"""Run as a program: train on two ranks under ZeRO 3, and once more from a checkpoint half way.

    disk_program.py FOLDER [DISK]

FOLDER holds the model `base`; DISK takes the optimiser states, which stay in memory without it. Prints the losses after
the checkpoint as a JSON list: of the run that saved it, then of the run that loaded it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from engine.job import environment

WORLD = 2


def _learner(folder: Path, disk: str | None, ranks: Any) -> Any:
    from engine.generate.models import load_tokenizer
    from engine.spec.sections import Model, Train
    from engine.train import models
    from engine.train.deepspeed_config import deepspeed_config
    from engine.train.learner import Learner

    train = Train(precision="fp32", zero_stage=3, offload_optimizer=True, nvme_path=disk)
    config = deepspeed_config(train, world_size=WORLD, micro_steps=2)
    config["zero_optimization"]["sub_group_size"] = 400_000  # several, as a large model has
    model, tokenizer = Model(path=str(folder / "base")), load_tokenizer(folder / "base")
    network = models.build_model(model, tokenizer, train, seed=0, zero_config=config)
    return Learner(network, train, config, ranks)


def _losses(learner: Any, ranks: Any, steps: range) -> list[float]:
    import torch

    losses = []
    for step in steps:
        rows = torch.randint(3, 20, (8, 9), generator=torch.Generator().manual_seed(step))
        ids = rows[ranks.rank :: WORLD]
        learner.set_lr(1e-2)
        loss = learner.engine(input_ids=ids, labels=ids, use_cache=False).loss / WORLD
        learner.backward(loss, last=True)
        losses += ranks.sum(float(loss.detach()))
        learner.step()
    return losses


def _rank(folder: Path, disk: str | None, loads: bool) -> None:
    from engine.job import runtime
    from engine.train import disk_states

    ranks = runtime.start(60)
    learner = _learner(folder, disk, ranks)
    if loads:
        if disk is not None:  # in memory, DeepSpeed would load all of it
            learner.engine.load_checkpoint(str(folder), tag="it")
        disk_states.load_states(learner.engine, folder / "it", ranks.rank)
    else:
        _losses(learner, ranks, range(2))
        learner.engine.save_checkpoint(str(folder), tag="it", save_latest=False)
        disk_states.save_states(learner.engine, folder / "it", ranks.rank)
        assert disk_states.on_disk(learner.engine) == (disk is not None)
    losses = _losses(learner, ranks, range(2, 5))
    if ranks.is_main:
        os.write(3, json.dumps(losses).encode() + b"\n")


def _run(folder: Path, disk: str | None, *, loads: bool) -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    os.environ |= {"WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pids = []
    for rank in range(WORLD):
        if (pid := os.fork()) == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            try:
                _rank(folder, disk, loads)
                os._exit(0)
            except BaseException as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                os._exit(1)
        pids.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


def _main(folder: Path, disk: str | None = None) -> int:
    import deepspeed.module_inject  # noqa: F401
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    torch.set_num_threads(1)
    return _run(folder, disk, loads=False) or _run(folder, disk, loads=True)


if __name__ == "__main__":
    environment.prepare(os.environ)
    os.dup2(1, 3)  # the answers; DeepSpeed prints on the other
    os.dup2(2, 1)
    sys.exit(_main(Path(sys.argv[1]), *sys.argv[2:]))
