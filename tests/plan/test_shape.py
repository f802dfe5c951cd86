"""Parameter counts are those of the models that transformers builds; a hostile config.json gets a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.plan.networks import Network, unknown_targets
from engine.plan.shape import read_shape, shape_of_architecture, shape_of_config, with_score_head
from engine.spec.sections import Architecture, Lora
from engine.train.adapters import with_adapters

SMALL = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}
GPT2 = {"vocab_size": 96, "n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 32}
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("Llama", SMALL),
    ("Llama", {**SMALL, "tie_word_embeddings": True}),
    ("Llama", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    ("Llama", {**SMALL, "head_dim": 16}),
    ("Mistral", SMALL),
    ("Mistral", {**SMALL, "head_dim": 16, "tie_word_embeddings": True}),
    ("Qwen2", SMALL),
    ("Qwen2", {**SMALL, "tie_word_embeddings": True}),
    ("Qwen3", {**SMALL, "head_dim": 16}),
    ("Qwen3", {**SMALL, "head_dim": 16, "attention_bias": True, "tie_word_embeddings": True}),
    ("GPT2", GPT2),
    ("GPT2", {**GPT2, "n_inner": 100}),
    ("GPTNeoX", {**SMALL, "num_key_value_heads": 6}),
    ("GPTNeoX", {**SMALL, "attention_bias": False, "tie_word_embeddings": True}),
    # as they are published: Llama 2 13B, Mistral 7B, Qwen2 0.5B, Qwen3 4B, GPT-2 and Pythia of the defaults
    (
        "Llama",
        {
            "vocab_size": 32000,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
        },
    ),
    ("Mistral", {}),
    (
        "Qwen2",
        {
            "vocab_size": 151936,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
    ),
    (
        "Qwen3",
        {
            "vocab_size": 151936,
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
    ),
    ("GPT2", {}),
    ("GPTNeoX", {}),
]


@pytest.mark.parametrize(("family", "settings"), CONFIGS, ids=[f"{index}-{c[0]}" for index, c in enumerate(CONFIGS)])
def test_the_parameters_are_those_that_transformers_builds(
    family: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    config = getattr(transformers, f"{family}Config")(**settings)
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path / "config.json")
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert shape.exact
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape.largest == max(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("family", "settings"), CONFIGS, ids=[f"{index}-{c[0]}" for index, c in enumerate(CONFIGS)])
@pytest.mark.parametrize("scored", [False, True])
def test_score_heads_and_adapters_are_counted_as_they_are_made(
    family: str, settings: dict[str, Any], scored: bool
) -> None:
    config = getattr(transformers, f"{family}Config")(**settings, num_labels=1)
    shape = shape_of_config(config.to_dict())
    auto = transformers.AutoModelForCausalLM
    if scored:
        shape, auto = with_score_head(shape), transformers.AutoModelForSequenceClassification
    with torch.device("meta"):
        model = auto.from_config(config)
        assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
        lora = Lora(rank=4)
        with_adapters(model, lora, seed=0, keep=["score"] if scored else [])
    network = Network(shape, lora)
    assert network.parameters == sum(parameter.numel() for parameter in model.parameters())
    trains = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    assert network.trainable == sum(trains) and network.largest == max(trains)
    shared = Network(shape, lora, shares_base=True)
    assert shared.own == shared.trainable == network.trainable and shared.parameters == network.parameters


@pytest.mark.parametrize(
    ("family", "settings", "targets"),
    [
        ("Llama", SMALL, ("q_proj", "v_proj")),
        ("Llama", SMALL, ("self_attn.o_proj", "down_proj")),
        ("GPT2", GPT2, ("c_proj",)),
        ("GPT2", GPT2, ("mlp.c_proj", "c_attn")),
        ("GPTNeoX", {**SMALL, "num_key_value_heads": 6}, ("dense",)),
    ],
)
def test_targets_of_adapters_mean_the_layers_that_peft_takes(
    family: str, settings: dict[str, Any], targets: tuple[str, ...]
) -> None:
    config, lora = getattr(transformers, f"{family}Config")(**settings), Lora(rank=4, targets=targets)
    with torch.device("meta"):
        model = with_adapters(transformers.AutoModelForCausalLM.from_config(config), lora, seed=0)
    network = Network(shape_of_config(config.to_dict()), lora)
    assert network.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad) > 0


def test_targets_that_name_no_layer_are_found() -> None:
    shape = shape_of_config({"model_type": "llama", **SMALL})
    assert list(unknown_targets(shape, Lora(targets=("q_proj", "c_attn", "proj")))) == ["c_attn", "proj"]
    unknown = shape_of_config({"model_type": "novel", **SMALL})
    assert not list(unknown_targets(unknown, Lora(targets=("wq",))))
    assert Network(unknown, Lora(targets=("wq",))).adapters == Network(unknown, Lora()).adapters


def test_a_model_from_scratch_is_counted_too() -> None:
    shape = shape_of_architecture(Architecture(), vocabulary=300)
    config = transformers.LlamaConfig(
        vocab_size=300,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=3,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_an_unknown_architecture_is_estimated_and_says_so() -> None:
    with torch.device("meta"):
        model = transformers.Gemma2ForCausalLM(transformers.Gemma2Config())
    shape = shape_of_config(json.loads(model.config.to_json_string()))
    assert not shape.exact
    # Gemma 2 shares its embeddings, which the estimate cannot know.
    assert shape.parameters == pytest.approx(sum(parameter.numel() for parameter in model.parameters()), rel=0.3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("{}", "hidden_size is missing"),
        ('{"model_type": "llama", "hidden_size": 1e9}', "hidden_size must be a whole number"),
        ('{"model_type": "llama", "hidden_size": true}', "hidden_size must be a whole number"),
        ('{"model_type": "llama", "hidden_size": -4}', "hidden_size must be a whole number"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "hidden_size must be a whole number"),
        ('{"model_type": "llama", "hidden_size": 1' + "0" * 40 + "}", "hidden_size must be a whole number"),
        ('{"hidden_size": 1' + "0" * 5000 + "}", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"model_type": "llama"}', "hidden_size is missing"),
        (json.dumps({"model_type": "llama", **SMALL, "num_attention_heads": 7}), "no multiple of 7"),
        (json.dumps({"model_type": "llama", **SMALL, "tie_word_embeddings": "no"}), "tie_word_embeddings must be true"),
        (json.dumps({"model_type": ["llama"]}), "is missing"),
    ],
)
def test_a_hostile_config_gets_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=said) as fault:
        read_shape(file)
    assert str(file) in (fault.value.where or "")


def test_what_is_no_text_or_endless_gets_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(InvalidInput, match="is not JSON"):
        read_shape(file)
    file.write_bytes(b" " * (5 << 20))
    with pytest.raises(InvalidInput, match="is larger than"):
        read_shape(file)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_shape(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = ["model_type", "text_config", "head_dim", "n_embd", "n_layer", "n_head", "n_positions", "hidden_act", *SMALL]


@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES),
    st.sampled_from(["llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox", "other", None]),
)
def test_no_config_raises_anything_but_a_sentence(document: dict[str, Any], family: str | None) -> None:
    try:
        shape = shape_of_config({**SMALL, **document, **({"model_type": family} if family else {})})
    except InvalidInput as error:
        assert error.message.endswith(".")
    else:
        assert shape.parameters > 0
