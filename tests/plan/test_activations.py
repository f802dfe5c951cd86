"""The estimate of activations brackets what autograd really keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from engine.generate.sampling import takes_logits_to_keep
from engine.plan.activations import Load, activation_bytes, forward_bytes, kept_bytes, logits_bytes
from engine.plan.networks import Network
from engine.plan.shape import shape_of_config, with_score_head
from engine.spec.sections import Lora, Train
from engine.train.adapters import with_adapters
from engine.train.batches import Row, collate
from engine.train.loss import summed_loss
from engine.train.scoring import scores_of

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


def saved_bytes(network: Any, compute: Callable[[], torch.Tensor]) -> int:
    """Return the bytes of all storages that autograd keeps after a forward pass, but for the weights."""
    kept: dict[int, Any] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = compute()
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


def config_of(family: str, **more: Any) -> Any:
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 64}
    inner = {} if family == "GPT2" else {"intermediate_size": 352}
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    return getattr(transformers, f"{family}Config")(**sizes, **inner, **tokens, **MODELS[family], **more)


def ready(network: Any, train: Train) -> Any:
    network = network.to({"bf16": torch.bfloat16, "fp32": torch.float32}[train.precision]).train()
    if train.gradient_checkpointing:
        network.activation_checkpointing_enable({"use_reentrant": False})
    return network


def random_ids() -> list[list[int]]:
    return [torch.randint(2, VOCABULARY, (LENGTH,)).tolist() for _ in range(ROWS)]


def language_model_bytes(config: Any, train: Train, lora: Lora | None = None) -> int:
    """Return what the loss of a language model keeps, with loss on all tokens."""
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(config)
    if lora is not None:
        with_adapters(network, lora, seed=0)
    network = ready(network, train)
    batch = collate([Row.of(ids, [True] * LENGTH) for ids in random_ids()], 0, torch.device("cpu"))
    keeps = takes_logits_to_keep(network)
    return saved_bytes(network, lambda: summed_loss(network, batch, keep_logits=keeps))


def planned_bytes(network: Network, train: Train, load: Load) -> int:
    assert kept_bytes(network, train, load) < activation_bytes(network, train, load)
    return kept_bytes(network, train, load) + logits_bytes(network, train, load)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("family", sorted(MODELS))
def test_the_estimate_brackets_what_is_kept(family: str, precision: str, checkpointing: bool) -> None:
    config = config_of(family)
    train = Train(precision=precision, gradient_checkpointing=checkpointing)
    measured = language_model_bytes(config, train)
    planned = planned_bytes(Network(shape_of_config(config.to_dict())), train, Load(ROWS, LENGTH))
    assert measured <= planned * 1.02  # but for the positions, the log-sum-exp and the like
    assert planned <= MOST * measured


@pytest.mark.parametrize("lora", [Lora(rank=8), Lora(rank=8, dropout=0.1), Lora(rank=32, targets=("q_proj", "v_proj"))])
@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_adapters_keep_what_their_factors_need(family: str, lora: Lora) -> None:
    if family == "GPT2":
        lora = lora.model_copy(update={"targets": ()})
    config, train = config_of(family), Train(precision="fp32")
    measured = language_model_bytes(config, train, lora)
    planned = planned_bytes(Network(shape_of_config(config.to_dict()), lora), train, Load(ROWS, LENGTH))
    assert measured <= planned * 1.02
    # What only the gradients of the frozen weights need is not kept, and is planned for.
    assert planned <= 1.5 * measured


def test_attention_that_is_written_out_keeps_its_matrices() -> None:
    config, train = config_of("Llama", attn_implementation="eager"), Train(precision="fp32")
    measured = language_model_bytes(config, train)
    network = Network(shape_of_config(config.to_dict()))
    planned = planned_bytes(network, train, Load(ROWS, LENGTH, eager=True))
    assert planned_bytes(network, train, Load(ROWS, LENGTH)) < measured <= planned * 1.02
    assert planned <= MOST * measured


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_score_head_keeps_no_logits(checkpointing: bool) -> None:
    config, train = config_of("Llama", num_labels=1), Train(precision="fp32", gradient_checkpointing=checkpointing)
    torch.manual_seed(0)
    network = ready(transformers.AutoModelForSequenceClassification.from_config(config), train)
    ids = torch.tensor(random_ids())
    measured = saved_bytes(network, lambda: scores_of(network, ids).sum())
    planned = planned_bytes(Network(with_score_head(shape_of_config(config.to_dict()))), train, Load(ROWS, LENGTH))
    assert measured <= planned * 1.02
    assert planned <= MOST * measured


def test_without_gradients_a_pass_takes_a_part_of_one_with_them() -> None:
    network, train = Network(shape_of_config(config_of("Llama").to_dict())), Train(precision="fp32")
    for predicting in (None, 1, LENGTH // 2):
        load = Load(ROWS, LENGTH, predicting)
        assert 0 < forward_bytes(network, "fp32", load) < activation_bytes(network, train, load)
    few, all_of_them = Load(ROWS, LENGTH, 1), Load(ROWS, LENGTH)
    assert logits_bytes(network, train, few) * LENGTH == logits_bytes(network, train, all_of_them)
