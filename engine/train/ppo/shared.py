"""One base under several adapters: policy, critic and reward models share its weights, and it is the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import InvalidInput
from engine.generate.sampling import takes_logits_to_keep
from engine.job.runtime import Runtime
from engine.rl.masking import last_position
from engine.spec.models import PpoSpec
from engine.train import models
from engine.train.adapters import DEFAULT, load_adapter, using_adapter, with_adapters
from engine.train.batches import MicroBatch
from engine.train.evaluation import evaluating
from engine.train.export import ADAPTER
from engine.train.learner import Learner
from engine.train.loss import summed_loss
from engine.train.ppo import building
from engine.train.ppo.episodes import EpisodeBatch
from engine.train.ppo.networks import (
    Judge,
    Networks,
    Reference,
    token_log_probs,
    token_values,
    whole,
    without_dropout,
)
from engine.train.scoring import scores_of

CRITIC = "critic"
_POLICY_PART, _CRITIC_PART = "policy", "critic"


class SharedNetwork(nn.Module):
    """A causal language model with adapters, and a scalar head for each adapter that scores."""

    def __init__(self, base: Any, heads: dict[str, nn.Linear]) -> None:
        super().__init__()
        self.base = base
        self.heads = nn.ModuleDict(heads)

    def forward(self, input_ids: Tensor, adapter: str | None, head: str | None = None, **arguments: Any) -> Any:
        """Return what the base returns with an adapter, or without: None; with a head, its score [batch, length]."""
        with using_adapter(self.base, adapter):
            if head is None:
                return self.base(input_ids=input_ids, **arguments)
            blocks = self.base.base_model(input_ids=input_ids, use_cache=False, return_dict=True)
        return self.heads[head](blocks.last_hidden_state).squeeze(-1).float()


class SharedNetworks(Networks):
    """One engine trains the adapters of policy and critic.

    So the gradient is clipped by the norm of both together, and the policy's optimiser counts the steps of the critic's
    warm-up, in which its learning rate is 0.
    """

    def __init__(self, spec: PpoSpec, tokenizer: Any, ranks: Runtime) -> None:
        assert spec.model.lora is not None
        self.temperature, self._pad_id = spec.rollout.temperature, tokenizer.pad_token_id
        self.has_critic = spec.ppo.estimator == "gae"
        config = building.config_of(spec.train, ranks)
        base: Any = models.build_model(spec.model, tokenizer, spec.train, seed=spec.seed, zero_config=config)
        self._keeps_logits = takes_logits_to_keep(base)
        heads: dict[str, nn.Linear] = {}
        if self.has_critic:
            with_adapters(base, spec.critic.lora or spec.model.lora, seed=spec.seed, name=CRITIC)
            heads[CRITIC] = _head(base, torch.zeros(1, base.config.get_text_config().hidden_size))
        self._alone: dict[str, building.Frozen] = {}
        self.judged: dict[str, tuple[float, float]] = {}
        for name, term in spec.rewards.items():
            if term.kind != "model":
                continue
            folder = Path(term.path or "")
            if (folder / ADAPTER).is_dir():
                heads[name] = _adapted_head(base, folder, name)
            else:
                self._alone[name] = building.build_judge(spec, term, tokenizer, ranks)
            self.judged[name] = building.exported_normalisation(folder)
        without_dropout(base)
        self._network = SharedNetwork(base, heads)
        self._learner = Learner(self._network, spec.train, config, ranks, part_of=_part_of)
        self.learners = {"shared": self._learner}

    @property
    def policy(self) -> Any:
        """The base, computing with the policy's adapter."""
        return self._network.base

    def policy_parameters(self) -> dict[str, nn.Parameter]:
        """Return by name what trains of the policy."""
        return {name: p for name, p in super().policy_parameters().items() if _part_of(name) == _POLICY_PART}

    @contextmanager
    def decoding(self) -> Iterator[Any]:
        """Have the policy with all its weights on this rank."""
        with using_adapter(self.policy, DEFAULT), whole(self.policy) as network:
            yield network

    def log_probs(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy of the policy at each response token."""
        return self._log_probs(batch, DEFAULT)

    def _log_probs(self, batch: EpisodeBatch, adapter: str | None) -> tuple[Tensor, Tensor]:
        network = partial(self._learner.engine, adapter=adapter)
        return token_log_probs(network, batch, self.temperature, keeps_logits=self._keeps_logits)

    def language_model_loss(self, batch: MicroBatch) -> Tensor:
        """Return the policy's summed loss on text that it did not write."""
        network = partial(self._learner.engine, adapter=DEFAULT)
        return summed_loss(network, batch, keep_logits=self._keeps_logits)

    def values(self, batch: EpisodeBatch) -> Tensor:
        """Return the critic's value before each response token."""
        return token_values(self._learner.engine(input_ids=batch.input_ids, adapter=CRITIC, head=CRITIC), batch)

    @contextmanager
    def reference(self) -> Iterator[Reference]:
        """Have the base alone at work."""
        with self.measuring():
            yield lambda batch: self._log_probs(batch, None)[0]

    @contextmanager
    def judge(self, name: str) -> Iterator[Judge]:
        """Have the reward model of a term at work."""
        if name in self._alone:
            with self._alone[name].at_work() as network:
                yield lambda input_ids: scores_of(network, input_ids)
            return
        with self.measuring():
            yield lambda input_ids: self._scores(input_ids, name)

    def _scores(self, input_ids: Tensor, name: str) -> Tensor:
        by_position: Tensor = self._learner.engine(input_ids=input_ids, adapter=name, head=name)
        last = last_position(input_ids != self._pad_id)
        return by_position.gather(1, last.unsqueeze(-1)).squeeze(-1)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Compute without gradients."""
        with evaluating(self._learner.engine):
            yield

    def backward(
        self,
        *,
        policy: Callable[[], Tensor] | None = None,
        critic: Callable[[], Tensor] | None = None,
        policy_last: bool,
        critic_last: bool,
    ) -> None:
        """Add the gradients of losses in one backward pass.

        ZeRO 3 overwrites gradients in the first pass of a step and adds to them in later ones: what got its first
        gradient in a later one would keep that of the step before.
        """
        losses = [loss() for loss in (policy, critic) if loss is not None]
        self._learner.backward(torch.stack(losses).sum(), last=critic_last if policy is None else policy_last)

    def step(self, *, policy_lr: float | None, critic_lr: float | None) -> dict[str, float]:
        """Take an optimiser step; what has no learning rate stays."""
        self._learner.set_lr(policy_lr or 0.0, part=_POLICY_PART)
        self._learner.set_lr(critic_lr or 0.0, part=_CRITIC_PART)
        return {"grad_norm": self._learner.step(), "overflow": float(self._learner.overflowed)}


def _part_of(name: str) -> str:
    return _CRITIC_PART if f".{CRITIC}." in name else _POLICY_PART


def _head(base: Any, weight: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], 1, bias=False, dtype=base.dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
    return head


def _adapted_head(base: Any, folder: Path, name: str) -> nn.Linear:
    """Load a reward model's adapter into the base, and return its head."""
    beside = load_adapter(base, folder / ADAPTER, name=name)
    if set(beside) != {"score.weight"}:
        raise InvalidInput("the adapter has no head for scores.", where=str(folder / ADAPTER))
    return _head(base, beside["score.weight"]).requires_grad_(False)
