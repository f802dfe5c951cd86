"""The cache of a rollout is as large as the one that transformers makes, and all of a rollout grows with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from engine.plan.generation import Decoding, cache_bytes, generation_bytes
from engine.plan.networks import Network
from engine.plan.shape import shape_of_config

SIZES = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
GPT2 = {"vocab_size": 96, "n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 32, "eos_token_id": 1}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Llama", SIZES),
        ("Llama", {**SIZES, "num_key_value_heads": 6, "head_dim": 16}),
        ("Mistral", SIZES),
        ("Qwen2", SIZES),
        ("Qwen3", {**SIZES, "head_dim": 16}),
        ("GPT2", GPT2),
        ("GPTNeoX", {**SIZES, "num_key_value_heads": 6}),
    ],
)
def test_the_cache_is_that_of_transformers(family: str, settings: dict[str, Any], precision: str) -> None:
    config = getattr(transformers, f"{family}Config")(**settings)
    network = transformers.AutoModelForCausalLM.from_config(config).eval()
    network = network.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    sequences, length = 3, 14
    cache = transformers.StaticCache(config=config, max_cache_len=length)
    with torch.no_grad():
        network(input_ids=torch.ones((sequences, 5), dtype=torch.int64), past_key_values=cache, use_cache=True)
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    shape = shape_of_config(config.to_dict())
    planned = cache_bytes(shape, precision, sequences=sequences, length=length)
    assert planned == sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@given(st.integers(1, 300), st.integers(1, 4000), st.integers(1, 4000))
def test_more_or_longer_answers_never_take_less(sequences: int, prompt: int, response: int) -> None:
    shape = shape_of_config({"model_type": "llama", **SIZES})

    def planned(*, sequences: int, prompt: int, response: int) -> int:
        return generation_bytes(Network(shape), "bf16", Decoding(sequences, prompt, response))

    least = planned(sequences=sequences, prompt=prompt, response=response)
    assert least > cache_bytes(shape, "bf16", sequences=sequences, length=prompt + response)
    assert least < planned(sequences=sequences + 1, prompt=prompt, response=response)
    assert least < planned(sequences=sequences, prompt=prompt + 1, response=response)
    assert least < planned(sequences=sequences, prompt=prompt, response=response + 1)
