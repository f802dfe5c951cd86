"""Making the networks of PPO from what a spec names: each with its own precision, ZeRO stage and offload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import InvalidInput
from engine.generate.models import require_model_folder
from engine.job.runtime import Runtime
from engine.spec.models import PpoSpec
from engine.spec.ppo import Critic, RewardTerm
from engine.spec.sections import Model, Train
from engine.train import models
from engine.train.deepspeed_config import deepspeed_config
from engine.train.learner import Learner
from engine.train.ppo.networks import without_dropout


class ValueNetwork(nn.Module):
    """A network with a scalar head, read at every position: what return is still to come."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.config = network.config

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the value at each position: float32 [batch, length]."""
        hidden = self.network.base_model(input_ids=input_ids, use_cache=False, return_dict=True).last_hidden_state
        values: Tensor = self.network.score(hidden).squeeze(-1)
        return values.float()


class Frozen:
    """A network that only scores. Its weights lie on each rank, or in shards (ZeRO 3), or wait in host memory."""

    def __init__(self, network: nn.Module, train: Train, *, offload: bool, ranks: Runtime) -> None:
        network.requires_grad_(False)
        network.eval()
        self._device, self._offload, self._partitioned = ranks.device, offload, train.zero_stage == 3
        if self._partitioned:
            import deepspeed

            config = config_of(train, ranks)
            network, *_ = deepspeed.initialize(model=network, config=config, dist_init_required=False)
            network.eval()
        elif not offload:
            network.to(self._device)
        self._network = network

    @contextmanager
    def at_work(self) -> Iterator[Any]:
        """Have the weights where they are computed with."""
        moves = self._offload and not self._partitioned
        if moves:
            self._network.to(self._device)
        try:
            with torch.no_grad():
                yield self._network
        finally:
            if moves:
                self._network.to("cpu")


def build_policy(spec: PpoSpec, tokenizer: Any, ranks: Runtime) -> Learner:
    """Return the policy, at its start."""
    config = config_of(spec.train, ranks)
    network = models.build_model(spec.model, tokenizer, spec.train, seed=spec.seed, zero_config=config)
    without_dropout(network)
    return Learner(network, spec.train, config, ranks)


def build_critic(spec: PpoSpec, tokenizer: Any, ranks: Runtime) -> Learner:
    """Return the critic: a folder's network, or the policy's start, with a value head."""
    critic = spec.critic
    train = critic_train(spec)
    config = config_of(train, ranks)
    model = Model(path=critic.path or spec.model.path, lora=critic.lora)
    network: Any = models.build_reward_model(model, tokenizer, train, seed=spec.seed, zero_config=config)
    if critic.head == "zero":
        _zero(network.score.weight)
    elif not is_reward_model(Path(model.path or "")):
        raise InvalidInput(
            "critic.head is kept, but the critic's start has no head.",
            hint="Give critic.path a reward model, or set critic.head to zero.",
            where=model.path,
        )
    without_dropout(network)
    return Learner(ValueNetwork(network), train, config, ranks)


def critic_train(spec: PpoSpec) -> Train:
    """Return how the critic trains: as the policy, but for what its section says."""
    critic: Critic = spec.critic
    stage = spec.train.zero_stage if critic.zero_stage is None else critic.zero_stage
    changed = {
        "zero_stage": stage,
        "offload_optimizer": critic.offload_optimizer,
        "offload_parameters": critic.offload_parameters,
    }
    return spec.train.model_copy(update=changed)


def build_reference(spec: PpoSpec, tokenizer: Any, ranks: Runtime) -> Frozen:
    """Return the reference."""
    reference = spec.reference
    train = frozen_train(spec, zero_stage=reference.zero_stage, offload=reference.offload)
    model = Model(path=reference.path or spec.model.path)
    network = models.build_model(model, tokenizer, train, seed=spec.seed, zero_config=config_of(train, ranks))
    return Frozen(network, train, offload=reference.offload, ranks=ranks)


def build_judge(spec: PpoSpec, term: RewardTerm, tokenizer: Any, ranks: Runtime) -> Frozen:
    """Return a reward model.

    Raises:
        InvalidInput: if there is no reward model in the folder.
    """
    assert term.path is not None
    require_model_folder(Path(term.path))
    if not is_reward_model(Path(term.path)):
        raise InvalidInput(
            "is no reward model: it has no head for scores.", hint="Train one: engine new rm.", where=term.path
        )
    train = frozen_train(spec, zero_stage=term.zero_stage, offload=term.offload)
    network = models.build_reward_model(
        Model(path=term.path), tokenizer, train, seed=spec.seed, zero_config=config_of(train, ranks)
    )
    return Frozen(network, train, offload=term.offload, ranks=ranks)


def exported_normalisation(folder: Path) -> tuple[float, float]:
    """Return mean and deviation of its scores that a reward model was exported with, or 0 and 1."""
    config = _config(folder)
    return float(config.get("reward_mean", 0.0)), float(config.get("reward_std", 1.0))


def is_reward_model(folder: Path) -> bool:
    """Whether a folder's config says that the network has a head for scores."""
    return any(str(name).endswith("ForSequenceClassification") for name in _config(folder).get("architectures") or ())


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"its config.json cannot be read: {error}.", where=str(folder)) from error
    return config


def frozen_train(spec: PpoSpec, *, zero_stage: int, offload: bool) -> Train:
    """Return the settings of a network that only scores."""
    changed = {
        "zero_stage": zero_stage,
        "offload_optimizer": False,
        "offload_parameters": offload and zero_stage == 3,
        "gradient_checkpointing": False,
    }
    return spec.train.model_copy(update=changed)


def config_of(train: Train, ranks: Runtime) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a network."""
    # More than one micro-step, so that DeepSpeed adds gradients up; where the step ends the learner says.
    return deepspeed_config(train, world_size=ranks.world_size, micro_steps=2)


def _zero(weight: nn.Parameter) -> None:
    import deepspeed

    partitioned = hasattr(weight, "ds_id")
    with deepspeed.zero.GatheredParameters([weight], modifier_rank=0, enabled=partitioned), torch.no_grad():
        weight.zero_()
