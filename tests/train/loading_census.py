"""Run as a program: load a model on some ranks under ZeRO 3, and print a JSON line a rank of what that took.

    loading_census.py MODEL.json WORLD

MODEL.json is the section `model` of a spec. Each line is {"rank": R, "held": BYTES, "peak": BYTES}: tensors of weights
that the rank holds afterwards, and by how much its resident memory had grown at most, with files that it had mapped.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from engine.job import environment
from tests.train.forkserver import IMPORTED


def _most_resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


def _measure(model: dict[str, Any], world: int) -> dict[str, int]:
    from engine.generate.models import load_tokenizer
    from engine.job import runtime
    from engine.spec.sections import Model, Train
    from engine.train import models
    from engine.train.deepspeed_config import deepspeed_config

    ranks = runtime.start(60)
    tokenizer = load_tokenizer(Path(model["path"]))
    train = Train(precision="fp32", zero_stage=3)
    config = deepspeed_config(train, world_size=world, micro_steps=1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _most_resident_bytes()
    network = models.build_model(Model(**model), tokenizer, train, seed=0, zero_config=config)
    peak = _most_resident_bytes() - before
    # An adapter is partitioned when the engine is made; what is loaded must be already.
    held = sum(getattr(p, "ds_tensor", p).numel() * p.element_size() + p.data.nbytes for p in network.parameters())
    return {"rank": ranks.rank, "held": held, "peak": peak}


def _rank(model: dict[str, Any], world: int) -> int:
    try:
        os.write(3, json.dumps(_measure(model, world)).encode() + b"\n")
        return 0
    except BaseException as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1


def _fork(model: dict[str, Any], world: int) -> int:
    for name in IMPORTED["train"]:
        importlib.import_module(name)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    os.environ |= {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pids = []
    for rank in range(world):
        if (pid := os.fork()) == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            os._exit(_rank(model, world))
        pids.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


if __name__ == "__main__":
    environment.prepare(os.environ)
    os.dup2(1, 3)  # the answers; DeepSpeed prints on the other
    os.dup2(2, 1)
    sys.exit(_fork(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])))
