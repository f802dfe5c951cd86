"""The formulas for weights, gradients and optimiser states are what DeepSpeed allocates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.plan.shape import shape_of_config
from engine.plan.states import checkpoint_bytes, element_bytes, state_bytes
from engine.spec.sections import Train

CONFIG = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "tie_word_embeddings": False,
}
CASES: list[tuple[dict[str, Any], int]] = [
    *(({"zero_stage": stage, "precision": "bf16"}, world) for stage in (0, 1, 2, 3) for world in (1, 2)),
    *(({"zero_stage": stage, "precision": "fp32"}, 2) for stage in (0, 1, 2, 3)),
    ({"zero_stage": 2, "precision": "bf16", "offload_optimizer": True}, 2),
    ({"zero_stage": 3, "precision": "bf16", "offload_optimizer": True, "offload_parameters": True}, 2),
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, int]]]:
    """What each case was measured to hold."""
    config = tmp_path_factory.mktemp("census") / "config.json"
    config.write_text(json.dumps(CONFIG))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "MASTER_"))}
    environ |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, str(Path(__file__).with_name("state_census.py")), str(config), json.dumps(CASES)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(CASES), done.stderr
    yield lines


@pytest.mark.parametrize("index", range(len(CASES)), ids=[f"{settings}-{world}" for settings, world in CASES])
def test_deepspeed_allocates_what_is_planned(measured: list[dict[str, int]], index: int) -> None:
    (settings, world), found = CASES[index], measured[index]
    train, shape = Train(**settings), shape_of_config({"model_type": "llama", **CONFIG})
    planned = state_bytes(shape, train, ranks=world, micro_steps=2, on_cpu=True)
    assert shape.parameters == found["parameters"]
    weights = planned.weights + (planned.host_weights if train.offload_parameters else 0)
    # DeepSpeed pads its partitions by a few elements.
    assert found["weights"] == pytest.approx(weights, rel=0.01)
    if train.offload_optimizer:
        # What stands beside the optimiser on the host is among the rest; AdamW's square roots, a quarter, come and go.
        kept = found["optimizer"] + found["rest"]
        lasting = planned.host_gradients + planned.host_optimizer * 3 // 4
        assert 0.99 * lasting <= kept <= 1.01 * (planned.host + planned.gradients + planned.buffers)
    else:
        assert found["optimizer"] == pytest.approx(planned.optimizer, rel=0.01)
        # Of the buffers a CPU shows the one that is made for a reduction, or the largest gradient that waits for it.
        waits = planned.buffers if train.zero_stage == 0 else element_bytes(train) * shape.largest
        assert 0.99 * planned.gradients <= found["rest"] <= 1.01 * (planned.gradients + waits)
    assert found["checkpoint"] == pytest.approx(checkpoint_bytes(shape, train), rel=0.05)
