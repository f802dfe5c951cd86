"""Operations are those that torch counts of transformers' models, and utilisation that of PaLM's paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from engine.plan.networks import Network
from engine.plan.operations import forward_operations, multiplied, training_operations
from engine.plan.peaks import peak_operations
from engine.plan.shape import Linear, shape_of_config, with_score_head
from engine.spec.sections import Lora
from engine.train.adapters import with_adapters

LLAMA: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("Llama", LLAMA),
    ("Llama", {**LLAMA, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("Qwen3", {**LLAMA, "num_key_value_heads": 2, "head_dim": 16}),
    ("GPT2", {"vocab_size": 96, "n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 32}),
    ("GPTNeoX", {**LLAMA, "tie_word_embeddings": False}),
]
LENGTHS = (7, 7, 7)


def counted(model: Any, *, backward: bool) -> int:
    """Return the operations of matrix products that torch counts in a batch of LENGTHS."""
    model.enable_input_require_grads()  # what comes into the first block has a gradient, adapters or not
    with FlopCounterMode(display=False) as counter:
        output = model(input_ids=torch.ones(len(LENGTHS), LENGTHS[0], dtype=torch.long), use_cache=False).logits
        if backward:
            output.sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
@pytest.mark.parametrize(("family", "config"), MODELS)
def test_operations_are_those_that_torch_counts(family: str, config: dict[str, Any], lora: Lora | None) -> None:
    made = getattr(transformers, f"{family}Config")(**config)
    made._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(made)
    shape = shape_of_config(made.to_dict())
    if lora is not None:
        model = with_adapters(model, lora, seed=0)
    network = Network(shape, lora)
    assert forward_operations(network, LENGTHS) == counted(model, backward=False)
    assert training_operations(network, LENGTHS) == counted(model, backward=True)


def test_a_score_head_takes_one_output_and_trains_beside_adapters() -> None:
    shape = shape_of_config({"model_type": "llama", **LLAMA})
    scored = with_score_head(shape)
    assert multiplied(shape) - multiplied(scored) == 95 * 48
    one, other = (
        training_operations(Network(each, Lora(rank=4)), [10]) - forward_operations(Network(each, Lora(rank=4)), [10])
        for each in (scored, replace(scored, scored=False, vocabulary=1))
    )
    assert one - other == 2 * 48 * 10


def test_utilisation_is_that_of_palm() -> None:
    # Table 3 and appendix B: 540 billion parameters, 238.3 thousand tokens a second on 6144 chips of 275 TFLOP/s.
    one_matrix = (Linear("all", 540_350_000_000, 1, 1),)
    shape = shape_of_config({"model_type": "llama", **LLAMA})
    palm = replace(shape, linears=one_matrix, layers=118, query=48 * 256, vocabulary=0)
    chips = 6144 * 275e12
    share = training_operations(Network(palm), [2048]) / 2048 * 238_300 / chips
    without_attention = 6 * multiplied(palm) * 238_300 / chips
    assert (round(share, 3), round(without_attention, 3)) == (0.462, 0.457)


@pytest.mark.parametrize(
    ("device", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 311.9),
        ("NVIDIA L40S", 362.1),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A10G", None),
        ("", None),
    ],
)
def test_the_peak_of_a_gpu_is_known_by_its_name(device: str, tera: float | None) -> None:
    peak = None if tera is None else pytest.approx(tera * 1e12)
    assert peak_operations(device, "bf16") == peak == peak_operations(device, "fp16")
    assert peak_operations(device, "fp32") is None


def test_cards_without_bf16_have_a_peak_in_fp16_alone() -> None:
    assert peak_operations("Tesla V100-SXM2-32GB", "fp16") == 125e12
    assert peak_operations("Tesla V100-SXM2-32GB", "bf16") is None
