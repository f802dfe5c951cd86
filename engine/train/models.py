"""The model and its tokenizer: from a folder, or made from scratch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import InvalidInput
from engine.generate.models import require_model_folder, require_vocabulary
from engine.spec.sections import Architecture, Model, Train
from engine.train import machine
from engine.train.adapters import recomputing_alike, with_adapters

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def require_scoring_pad(tokenizer: Any) -> None:
    """Give the tokenizer a pad token that is not its end-of-sequence token, which the score is read at.

    transformers reads the score at the last token that is no pad: with pad = end of sequence, at the token before the
    end. Pads are never looked at, so another special token serves, with which no answer ends.

    Raises:
        InvalidInput: if there is none.
    """
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    for other in (tokenizer.unk_token, tokenizer.bos_token):
        if other is not None and other != tokenizer.eos_token:
            tokenizer.pad_token = other
            return
    raise InvalidInput(
        "the tokenizer pads with its end-of-sequence token, at which the score is read, and has no other one.",
        hint="Add a pad token of its own to the tokenizer and to the model.",
        where=str(tokenizer.name_or_path),
    )


def build_model(model: Model, tokenizer: Any, train: Train, *, seed: int, zero_config: dict[str, Any]) -> nn.Module:
    """Return the causal language model, whole on the CPU, or partitioned if it is loaded under ZeRO 3.

    A model from scratch is always made whole, with the same seed on each rank: making it in parts would draw other
    weights under ZeRO 3 than without it. With `model.lora` all that trains are adapters.

    Raises:
        InvalidInput: if the model cannot be loaded, or this machine cannot compute it as the spec says.
    """
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    machine.require(model, train)
    if model.architecture is not None:
        network = _from_architecture(LlamaForCausalLM, model, tokenizer, seed)
    else:
        network, _ = _from_folder(AutoModelForCausalLM, model, train, zero_config)
        require_vocabulary(network, tokenizer)
    return _completed(network, model, train, seed, heads=())


def build_reward_model(
    model: Model, tokenizer: Any, train: Train, *, seed: int, zero_config: dict[str, Any]
) -> nn.Module:
    """Return a model for sequence classification with one label: the causal model's blocks and a scalar head.

    A folder that holds a reward model keeps its head; any other one, and a model from scratch, gets a new head with
    weights from N(0, 1/√(width + 1)) (Huang et al. 2024). The tokenizer's pad token is not its end-of-sequence token.

    With `model.lora` all that trains are adapters and the head.

    Raises:
        InvalidInput: if the model cannot be loaded, has no head for sequence classification, or this machine cannot
            compute it as the spec says.
    """
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

    machine.require(model, train)
    if model.architecture is not None:
        network = _from_architecture(LlamaForSequenceClassification, model, tokenizer, seed, num_labels=1)
        missing = {"score.weight"}
    else:
        network, missing = _from_folder(AutoModelForSequenceClassification, model, train, zero_config, num_labels=1)
        require_vocabulary(network, tokenizer)
    head = getattr(network, "score", None)
    if not isinstance(head, nn.Linear):
        raise InvalidInput(
            f"a {network.config.model_type} model has no linear head for scores.",
            hint="A reward model needs a causal language model.",
            where=model.path,
        )
    if "score.weight" in missing:
        _start_head(head, seed)
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    network.config.pad_token_id = tokenizer.pad_token_id
    return _completed(network, model, train, seed, heads=("score",))


def _completed(network: Any, model: Model, train: Train, seed: int, *, heads: Sequence[str]) -> nn.Module:
    if train.gradient_checkpointing:
        network.activation_checkpointing_enable(
            {"use_reentrant": False, "context_fn": partial(recomputing_alike, network)}
        )
    return network if model.lora is None else with_adapters(network, model.lora, seed=seed, keep=heads)


def _start_head(head: nn.Linear, seed: int) -> None:
    import deepspeed

    draw = torch.Generator().manual_seed(seed)
    drawn = torch.randn(head.out_features, head.in_features, generator=draw) / math.sqrt(head.in_features + 1)
    with (
        deepspeed.zero.GatheredParameters([head.weight], modifier_rank=0, enabled=hasattr(head.weight, "ds_id")),
        torch.no_grad(),
    ):
        if head.weight.numel():
            head.weight.copy_(drawn)


def _from_architecture(network_type: Any, model: Model, tokenizer: Any, seed: int, **settings: Any) -> Any:
    from transformers import LlamaConfig

    architecture = model.architecture or Architecture()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        intermediate_size=architecture.intermediate_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        max_position_embeddings=architecture.max_positions,
        tie_word_embeddings=architecture.tie_embeddings,
        # Small init (Nguyen and Salazar 2019). The usual 0.02 suits a width of 1,000; a tiny model would learn from it
        # several times slower, or not at all.
        initializer_range=math.sqrt(2 / (5 * architecture.hidden_size)),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_attention(model),
        **settings,
    )
    torch.manual_seed(seed)
    return network_type(config)


def _from_folder(
    network_type: Any, model: Model, train: Train, zero_config: dict[str, Any], **settings: Any
) -> tuple[Any, set[str]]:
    """Return the network, and the names of the weights that the folder lacks."""
    folder = Path(model.path or "")
    require_model_folder(folder)
    partitioning = None
    if train.zero_stage == 3:
        from transformers.integrations import HfDeepSpeedConfig

        # While this object lives, from_pretrained partitions each weight as it reads it.
        partitioning = HfDeepSpeedConfig(zero_config)
    settings |= {"dtype": _DTYPES[train.precision], **_attention(model)}
    try:
        network, report = network_type.from_pretrained(folder, output_loading_info=True, **settings)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise InvalidInput(f"the model cannot be loaded: {error}", where=str(folder)) from error
    finally:
        del partitioning
    return network, set(report["missing_keys"])


def _attention(model: Model) -> dict[str, str]:
    """Return the argument of transformers that chooses the code for attention; none leaves it the choice."""
    names = {"sdpa": "sdpa", "flash": "flash_attention_2", "eager": "eager"}
    return {} if model.attention == "auto" else {"attn_implementation": names[model.attention]}


def parameter_groups(
    network: nn.Module, weight_decay: float, *, part_of: Callable[[str], str] | None = None
) -> list[dict[str, Any]]:
    """Return what trains in groups for AdamW: no weight decay on norms and biases, which are one-dimensional.

    part_of: names the part that a parameter belongs to, by its name; each part has groups of its own.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            # A parameter that ZeRO 3 has partitioned is flat and empty; its real shape is kept beside it.
            shape = getattr(parameter, "ds_shape", parameter.shape)
            part = "" if part_of is None else part_of(name)
            groups.setdefault((part, len(shape) > 1), []).append(parameter)
    return [
        {"params": groups[part, decays], "weight_decay": weight_decay if decays else 0.0, "part": part}
        for part, decays in sorted(groups, key=lambda key: (key[0], not key[1]))
    ]
