"""The estimate of activations brackets what autograd really keeps for the backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from engine.plan.activations import activation_bytes, kept_bytes, logits_bytes
from engine.plan.shape import shape_of_config
from engine.spec.sections import Train
from engine.train.batches import Row, collate
from engine.train.loss import summed_loss, takes_logits_to_keep

# The estimate is between what is measured and this many times that.
MOST = 1.25
ROWS, LENGTH, VOCABULARY = 2, 48, 300
MODELS: dict[str, dict[str, Any]] = {
    "Llama": {"num_key_value_heads": 2},
    "Mistral": {"num_key_value_heads": 4},
    "Qwen2": {"num_key_value_heads": 2},
    "Qwen3": {"num_key_value_heads": 2, "head_dim": 32},
    "GPTNeoX": {},
    "GPT2": {"attn_pdrop": 0.0},  # with dropout on it, a CPU has no attention kernel that keeps no [length, length]
}


def saved_bytes(network: Any, batch: Any) -> int:
    """Return the bytes of all storages that autograd keeps after a forward pass, but for the weights."""
    kept: dict[int, Any] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = summed_loss(network, batch, keep_logits=takes_logits_to_keep(network))
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("family", sorted(MODELS))
def test_the_estimate_brackets_what_is_kept(family: str, precision: str, checkpointing: bool) -> None:
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 64}
    inner = {} if family == "GPT2" else {"intermediate_size": 352}
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1}
    config = getattr(transformers, f"{family}Config")(**sizes, **inner, **tokens, **MODELS[family])
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(config)
    network = network.to(torch.bfloat16 if precision == "bf16" else torch.float32).train()
    if checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    rows = [Row.of(torch.randint(2, VOCABULARY, (LENGTH,)).tolist(), [True] * LENGTH) for _ in range(ROWS)]
    measured = saved_bytes(network, collate(rows, 0, torch.device("cpu")))

    train = Train(precision=precision, gradient_checkpointing=checkpointing)
    shape = shape_of_config(config.to_dict())
    planned = kept_bytes(shape, train, rows=ROWS, length=LENGTH)
    planned += logits_bytes(shape, train, rows=ROWS, length=LENGTH)
    assert measured <= planned * 1.02  # but for the positions, the log-sum-exp and the like
    assert planned <= MOST * measured
    assert planned < activation_bytes(shape, train, rows=ROWS, length=LENGTH)
