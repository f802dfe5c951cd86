"""The plan beside what steps took on a GPU: one H200, one rank (benchmarks/results/2026-11-26-h200.txt)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from engine.plan.activations import Load
from engine.plan.generation import Decoding
from engine.plan.memory import GIBI, OVERHEAD, MemoryPlan, Role, plan_memory
from engine.plan.networks import Network, Sharding
from engine.plan.place import Place
from engine.plan.shape import ModelShape, shape_of_config, with_score_head
from engine.spec.sections import Lora, Train

H200 = Place((1,), 143771 << 20)


def llama(hidden: int, layers: int, heads: int, intermediate: int) -> ModelShape:
    return shape_of_config(
        {
            "model_type": "llama",
            "vocab_size": 32000,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "tie_word_embeddings": False,
        }
    )


@dataclass(frozen=True)
class Measured:
    """GiB."""

    tensors: float  # most at once
    reserved: float  # by the allocator; of PPO: of the driver's figure all but the 1.67 GiB of the others
    process: float  # by the driver


def fine_tuning(shape: ModelShape, rows: int, *, checkpointing: bool) -> MemoryPlan:
    train = Train(precision="bf16", zero_stage=2, gradient_checkpointing=checkpointing)
    role = Role("model", Network(shape), Sharding.of(train), trains=(Load(rows, 1024),))
    return plan_memory([role], train, H200, micro_steps=2)


def reinforcement(shape: ModelShape) -> MemoryPlan:
    train, lora = Train(precision="bf16", zero_stage=1, gradient_checkpointing=True), Lora(rank=16)
    trains, scores = (Load(8, 520, 8 * 256),), Load(16, 520, 16 * 256)
    policy = Role(
        "policy",
        Network(shape, lora),
        Sharding.of(train),
        trains=trains,
        scores=scores,
        writes=Decoding(64, 264, 256),
    )
    critic = Role(
        "critic",
        Network(with_score_head(shape), lora, shares_base=True),
        Sharding.of(train),
        trains=trains,
        scores=scores,
    )
    return plan_memory([policy, critic], train, H200, micro_steps=2)


CASES = {
    "1.3B": (fine_tuning(llama(2048, 24, 16, 5504), 4, checkpointing=False), Measured(32.31, 38.86, 40.52)),
    "1.3B, recomputed": (fine_tuning(llama(2048, 24, 16, 5504), 8, checkpointing=True), Measured(27.63, 32.58, 34.25)),
    "5B, recomputed": (fine_tuning(llama(3584, 32, 28, 9728), 4, checkpointing=True), Measured(107.04, 126.43, 128.10)),
    "PPO of 13B": (reinforcement(llama(5120, 40, 40, 13824)), Measured(53.84, 63.85, 65.51)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_plan_has_room_for_the_tensors_and_is_near_what_the_driver_shows(name: str) -> None:
    planned, measured = CASES[name]
    tensors = (planned.total - planned.peak.parts[OVERHEAD].total) / GIBI
    assert measured.tensors <= tensors <= 1.2 * measured.tensors
    assert tensors <= 1.001 * measured.reserved, "what the plan takes for tensors, the allocator did reserve"
    assert planned.total / GIBI == pytest.approx(measured.process, rel=0.12)
