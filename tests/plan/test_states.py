"""The formulas for weights, gradients and optimiser states are what DeepSpeed allocates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.plan.networks import Network, Sharding
from engine.plan.shape import shape_of_config, with_score_head
from engine.plan.states import StateBytes, checkpoint_bytes, element_bytes, state_bytes
from engine.spec.sections import Lora, Train

CONFIG = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "tie_word_embeddings": False,
}
OFFLOADED = {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True}
LORA = {"rank": 8}
CASES: list[dict[str, Any]] = [
    {"world": 1, "train": {"zero_stage": 0}},
    *({"world": 2, "train": {"zero_stage": stage}} for stage in (0, 1, 2, 3)),
    *({"world": 2, "train": {"zero_stage": stage, "precision": "fp32"}} for stage in (0, 3)),
    {"world": 2, "train": {"zero_stage": 2, "offload_optimizer": True}},
    {"world": 2, "train": OFFLOADED},
    *({"world": 2, "train": {"zero_stage": stage}, "lora": LORA} for stage in (0, 3)),
    {"world": 2, "train": {"zero_stage": 2, "precision": "fp32"}, "lora": {"rank": 4, "targets": ["q_proj", "v_proj"]}},
    {"world": 2, "train": OFFLOADED, "lora": LORA},
    {"world": 2, "train": {"zero_stage": 2}, "critic": {"zero_stage": 3}},
    {"world": 2, "train": {"zero_stage": 3}, "critic": {"zero_stage": 2}, "lora": LORA},
]
MORE_CASES: list[dict[str, Any]] = [  # each lies between two of the others
    *({"world": 1, "train": {"zero_stage": stage}} for stage in (1, 2, 3)),
    *({"world": 2, "train": {"zero_stage": stage, "precision": "fp32"}} for stage in (1, 2)),
    *({"world": 2, "train": {"zero_stage": stage}, "lora": LORA} for stage in (1, 2)),
    {"world": 2, "train": {"zero_stage": 0}, "critic": {"zero_stage": 1}},
]


def name_of(case: dict[str, Any]) -> str:
    parts = [f"{case['world']}", *(f"{key}={value}" for key, value in case["train"].items())]
    return "-".join([*parts, *(key for key in ("lora", "critic") if key in case)])


Measure = Callable[[list[dict[str, Any]]], list[dict[str, int]]]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """Return a function that measures what each of some cases holds, once."""
    known: dict[str, list[dict[str, int]]] = {}

    def once(cases: list[dict[str, Any]]) -> list[dict[str, int]]:
        key = json.dumps(cases)
        if key not in known:
            known[key] = _measured(cases, tmp_path_factory)
        return known[key]

    return once


def _measured(cases: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, int]]:
    config = tmp_path_factory.mktemp("census") / "config.json"
    config.write_text(json.dumps(CONFIG))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "MASTER_"))}
    environ |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, str(Path(__file__).with_name("state_census.py")), str(config), json.dumps(cases)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=280, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(cases), done.stderr
    return lines


def planned_networks(case: dict[str, Any]) -> list[tuple[Network, Train]]:
    """The networks of a case, and how each trains."""
    shape = shape_of_config({"model_type": "llama", **CONFIG})
    lora = Lora(**case["lora"]) if "lora" in case else None
    found = [(Network(shape, lora), Train(**case["train"]))]
    if "critic" in case:
        found.append((Network(with_score_head(shape), lora), Train(**{**case["train"], **case["critic"]})))
    return found


def planned_states(case: dict[str, Any]) -> list[StateBytes]:
    return [
        state_bytes(
            network,
            Sharding.of(train),
            precision=train.precision,
            ranks=case["world"],
            micro_steps=2,
            on_cpu=True,
        )
        for network, train in planned_networks(case)
    ]


@pytest.mark.parametrize(
    ("cases", "index"),
    [
        *(pytest.param(CASES, index, id=name_of(case)) for index, case in enumerate(CASES)),
        *(
            pytest.param(MORE_CASES, index, id=name_of(case), marks=pytest.mark.cluster)
            for index, case in enumerate(MORE_CASES)
        ),
    ],
)
def test_deepspeed_allocates_what_is_planned(measure: Measure, cases: list[dict[str, Any]], index: int) -> None:
    case, found = cases[index], measure(cases)[index]
    networks, states = planned_networks(case), planned_states(case)
    assert found["parameters"] == sum(network.parameters for network, _ in networks)
    assert found["trainable"] == sum(network.trainable for network, _ in networks)
    (_, train) = networks[0]
    weights = sum(state.weights + state.working for state in states)
    weights += sum(state.host_weights for state in states) if train.offload_parameters else 0
    # DeepSpeed pads its partitions by a few elements.
    assert found["weights"] == pytest.approx(weights, rel=0.01)
    optimizer, gradients = (sum(getattr(state, name) for state in states) for name in ("optimizer", "gradients"))
    # Of the buffers a CPU shows the one that is made for a reduction, or the largest gradient that waits for it; of
    # several networks, that of one at a time.
    waits = max(
        state.buffers if own.zero_stage == 0 else element_bytes(own.precision) * network.largest
        for (network, own), state in zip(networks, states, strict=True)
    )
    if train.offload_optimizer:
        # What stands beside the optimiser on the host is among the rest; AdamW's square roots, a quarter, come and go.
        (state,) = states
        kept = found["optimizer"] + found["rest"]
        lasting = state.host_gradients + state.host_optimizer * 3 // 4
        assert 0.99 * lasting <= kept <= 1.01 * (state.host + gradients + state.buffers)
    else:
        assert found["optimizer"] == pytest.approx(optimizer, rel=0.01)
        assert 0.99 * gradients <= found["rest"] <= 1.01 * (gradients + waits) + 256
    checkpoint = sum(checkpoint_bytes(network, Sharding.of(own), own.precision) for network, own in networks)
    names = 70_000 * case["world"] * len(networks)  # of the tensors, in the files
    assert checkpoint <= found["checkpoint"] <= 1.05 * checkpoint + names


def test_a_local_disk_takes_what_waits_but_for_buffers() -> None:
    shape = shape_of_config({"model_type": "llama", **CONFIG, "hidden_size": 8192, "num_hidden_layers": 80})

    def planned(**settings: Any) -> StateBytes:
        sharding = Sharding.of(Train(**OFFLOADED, **settings))
        return state_bytes(Network(shape), sharding, precision="bf16", ranks=4, micro_steps=1)

    host, disk = planned(), planned(nvme_path="/nvme")
    assert disk.disk == host.host and host.disk == 0
    assert disk.host < host.host
    assert (disk.weights, disk.gradients, disk.optimizer) == (host.weights, host.gradients, host.optimizer)
