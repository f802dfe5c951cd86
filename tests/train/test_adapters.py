"""Several adapters over one network: made, switched, merged, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import InvalidInput, NotFound
from engine.generate.models import load_tokenizer
from engine.spec.sections import Lora, Model, Train
from engine.train.adapters import (
    adapter_weights,
    adapters_of,
    load_adapter,
    merged_weights,
    using_adapter,
    with_adapters,
    write_adapter,
)
from engine.train.models import build_model, parameter_groups

IDS = torch.arange(3, 19).reshape(2, 8)
LORA = Lora(rank=4, alpha=16.0)


def network(folder: Path, kind: str = "CausalLM") -> Any:
    import transformers

    head = {} if kind == "CausalLM" else {"num_labels": 1}
    return getattr(transformers, f"AutoModelFor{kind}").from_pretrained(folder, dtype=torch.float32, **head).eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def disturb(model: Any, name: str) -> None:
    """Let an adapter change something, as training does."""
    draw = torch.Generator().manual_seed(sum(name.encode()))
    for key, parameter in model.named_parameters():
        if f".{name}." in key:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)


def trained(model: Any) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_a_new_adapter_changes_nothing_and_its_seed_alone_draws_it(causal: Path) -> None:
    plain = network(causal)
    drawn = []
    for seed, before in ((7, 0), (7, 1), (8, 0)):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        one = with_adapters(network(causal), LORA, seed=seed)
        torch.testing.assert_close(logits(one), logits(plain), atol=0, rtol=0)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(dict(adapter_weights(one)))
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not all(torch.equal(drawn[0][name], drawn[2][name]) for name in drawn[0])


def test_only_adapters_and_the_head_that_is_kept_reach_the_optimiser(causal: Path) -> None:
    lora = Lora(rank=4, targets=("q_proj", "layers.1.mlp.down_proj"))
    one = with_adapters(network(causal, "SequenceClassification"), lora, seed=0, keep=("score",))
    layers = ("layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj", "layers.1.mlp.down_proj")
    factors = [f"model.{layer}.lora_{factor}.default.weight" for layer in layers for factor in "AB"]
    assert trained(one) == [*factors, "score.weight"]
    held = [parameter for group in parameter_groups(one, 0.1) for parameter in group["params"]]
    assert set(map(id, held)) == {id(parameter) for parameter in one.parameters() if parameter.requires_grad}


def test_each_adapter_computes_alone_and_switching_changes_nothing_that_trains(causal: Path) -> None:
    plain = logits(network(causal))
    alone = {}
    for name in ("policy", "critic"):
        one = with_adapters(network(causal), LORA, seed=0, name=name)
        disturb(one, name)
        alone[name] = logits(one)
    both = with_adapters(network(causal), LORA, seed=0, name="policy")
    with_adapters(both, LORA, seed=0, name="critic")
    for name in alone:
        disturb(both, name)
    assert adapters_of(both) == ["policy", "critic"]
    assert not torch.allclose(alone["policy"], alone["critic"], atol=0.1)
    before = trained(both)
    assert sum(".policy." in name for name in before) == sum(".critic." in name for name in before) == len(before) / 2
    torch.testing.assert_close(logits(both), alone["policy"])
    with using_adapter(both, "critic"):
        torch.testing.assert_close(logits(both), alone["critic"])
        with using_adapter(both, None):
            torch.testing.assert_close(logits(both), plain)
            assert trained(both) == before
        torch.testing.assert_close(logits(both), alone["critic"])
        loss = both(input_ids=IDS).logits.sum()
    torch.testing.assert_close(logits(both), alone["policy"])
    assert trained(both) == before
    loss.backward()
    assert {name for name, parameter in both.named_parameters() if parameter.grad is not None} == {
        name for name in before if ".critic." in name
    }


@pytest.mark.parametrize("backward_under", ["policy", "critic"])
def test_activations_are_recomputed_with_the_adapter_that_they_were_computed_with(
    causal: Path, backward_under: str
) -> None:
    gradients = []
    for checkpointing in (False, True):
        model, train = Model(path=str(causal), lora=LORA), Train(precision="fp32", gradient_checkpointing=checkpointing)
        both: Any = build_model(model, load_tokenizer(causal), train, seed=0, zero_config={})
        with_adapters(both, LORA, seed=0, name="policy")
        with_adapters(both, LORA, seed=0, name="critic")
        disturb(both, "policy")
        disturb(both, "critic")
        both.train()
        with using_adapter(both, "critic"):
            loss = both(input_ids=IDS, use_cache=False).logits.square().mean()
        with using_adapter(both, backward_under):
            loss.backward()
        gradients.append({name: p.grad for name, p in both.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and all(".critic." in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize("kind", ["CausalLM", "SequenceClassification"])
def test_written_and_loaded_over_the_base_it_computes_the_same(causal: Path, tmp_path: Path, kind: str) -> None:
    keep = () if kind == "CausalLM" else ("score",)
    one = with_adapters(network(causal, kind), LORA, seed=0, keep=keep)
    disturb(one, "default")
    write_adapter(tmp_path, one, dict(adapter_weights(one)), base=str(causal), base_sha256=None)

    again = with_adapters(network(causal, kind), LORA, seed=1, name="first")
    before = trained(again)
    whole = load_adapter(again, tmp_path, name="second")
    assert list(whole) == [f"{name}.weight" for name in keep]
    assert trained(again) == before
    again.load_state_dict(whole, strict=False)
    assert not torch.allclose(logits(again), logits(one))
    with using_adapter(again, "second"):
        torch.testing.assert_close(logits(again), logits(one), atol=0, rtol=0)


def test_merged_weights_have_the_names_of_the_base_and_keep_what_is_tied_together() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = LlamaForCausalLM(LlamaConfig(vocab_size=32, tie_word_embeddings=True, **shape)).eval()
    names = list(base.state_dict())
    one = with_adapters(base, LORA, seed=0, name="own")
    disturb(one, "own")
    weights = {name: tensor for group, tensor in merged_weights(one, adapter="own") for name in group}
    assert sorted(weights) == sorted(names)
    assert weights["lm_head.weight"] is weights["model.embed_tokens.weight"]
    plain = LlamaForCausalLM(base.config).eval()
    plain.load_state_dict(weights)
    torch.testing.assert_close(logits(plain), logits(one), atol=1e-5, rtol=0)


def test_layers_that_keep_their_weights_transposed_are_merged_too() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=16)
    one = with_adapters(GPT2LMHeadModel(config).eval(), LORA, seed=0)
    disturb(one, "default")
    plain = GPT2LMHeadModel(config).eval()
    plain.load_state_dict({name: tensor for group, tensor in merged_weights(one) for name in group})
    torch.testing.assert_close(logits(plain), logits(one), atol=1e-5, rtol=0)


def test_what_cannot_be_loaded_is_told_in_one_sentence(causal: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no adapter"):
        load_adapter(network(causal), tmp_path, name="own")
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    other = with_adapters(LlamaForCausalLM(LlamaConfig(vocab_size=32, **shape)), LORA, seed=0)
    write_adapter(tmp_path, other, dict(adapter_weights(other)), base="other", base_sha256=None)
    with pytest.raises(InvalidInput, match="does not fit the model"):
        load_adapter(network(causal), tmp_path, name="own")
    with pytest.raises(InvalidInput, match="names 'qkv'; the linear layers that take an adapter are down_proj, "):
        with_adapters(network(causal), Lora(targets=("qkv",)), seed=0)
