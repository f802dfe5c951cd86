"""The networks of PPO behind one face: what each says of a batch of episodes, and how those that train learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.rl.log_probs import log_probs_and_entropy
from engine.train.adapters import DEFAULT, merged_weights
from engine.train.batches import MicroBatch
from engine.train.learner import Learner
from engine.train.ppo.episodes import EpisodeBatch

# Returns the scores [batch] of sequences, int64 [batch, length], padded on the right.
Judge = Callable[[Tensor], Tensor]
# Returns the log-probability of each response token: [batch, longest response], nats.
Reference = Callable[[EpisodeBatch], Tensor]


class Networks(ABC):
    """Policy, reference, critic and reward models. All ranks call the same methods in the same order."""

    learners: Mapping[str, Learner]  # by name, all that a checkpoint holds
    has_critic: bool
    temperature: float  # of sampling, and of all log-probabilities
    judged: Mapping[str, tuple[float, float]]  # mean and deviation that each reward model was exported with

    @property
    @abstractmethod
    def policy(self) -> Any:
        """The policy as a causal language model, without DeepSpeed around it."""

    def policy_parameters(self) -> dict[str, nn.Parameter]:
        """Return by name what trains of the policy."""
        return {name: p for name, p in self.policy.named_parameters() if p.requires_grad}

    @abstractmethod
    def decoding(self) -> AbstractContextManager[Any]:
        """Have the policy with all its weights on this rank, to decode without another one."""

    @abstractmethod
    def log_probs(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy of the policy at each response token: [batch, longest response], nats."""

    @abstractmethod
    def language_model_loss(self, batch: MicroBatch) -> Tensor:
        """Return the policy's summed loss, nats, on text that it did not write."""

    @abstractmethod
    def values(self, batch: EpisodeBatch) -> Tensor:
        """Return the critic's value before each response token: [batch, longest response]."""

    @abstractmethod
    def reference(self) -> AbstractContextManager[Reference]:
        """Have the reference at work, without gradients."""

    @abstractmethod
    def judge(self, name: str) -> AbstractContextManager[Judge]:
        """Have the reward model of a term at work, without gradients."""

    @abstractmethod
    def measuring(self) -> AbstractContextManager[None]:
        """Compute policy and critic without gradients."""

    @abstractmethod
    def backward(
        self,
        *,
        policy: Callable[[], Tensor] | None = None,
        critic: Callable[[], Tensor] | None = None,
        policy_last: bool,
        critic_last: bool,
    ) -> None:
        """Add the gradients of losses, summed over the ranks, to those of policy and critic; the last before `step`.

        Losses come as functions, so that one network's activations may be gone before the other's are made.
        """

    @abstractmethod
    def step(self, *, policy_lr: float | None, critic_lr: float | None) -> dict[str, float]:
        """Take an optimiser step of what has a learning rate; return the norms of the gradients by metric."""


def token_log_probs(
    network: Any, batch: EpisodeBatch, temperature: float, *, keeps_logits: bool
) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy at each response token: [batch, longest response], nats, with gradients.

    `network` is a causal language model or the DeepSpeed engine around one. With `keeps_logits` it makes logits only
    where some row has a response token.
    """
    arguments: dict[str, Any] = {"logits_to_keep": batch.columns} if keeps_logits else {}
    logits = network(input_ids=batch.input_ids, use_cache=False, return_dict=True, **arguments).logits
    if not keeps_logits:
        logits = logits.index_select(1, batch.columns)
    predicted = batch.input_ids.index_select(1, batch.columns + 1)
    log_probs, entropy = log_probs_and_entropy(logits, predicted, temperature=temperature)
    return log_probs.gather(1, batch.places), entropy.gather(1, batch.places)


def token_values(values: Tensor, batch: EpisodeBatch) -> Tensor:
    """Return the value before each response token, [batch, longest response], of values at all positions."""
    return values.index_select(1, batch.columns).gather(1, batch.places)


def without_dropout(network: nn.Module) -> None:
    """Switch dropout off for good: what samples, what scores and what trains are to be one distribution."""
    module: Any
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


@contextmanager
def whole(network: Any) -> Iterator[Any]:
    """Yield the network with all its weights on this rank, without gradients. Called by all ranks together.

    Under ZeRO 3 they are gathered once, into a twin that no hook watches, so that ranks may then decode as long as each
    has to; the twin is gone afterwards.
    """
    twin = _twin(network) if any(hasattr(p, "ds_id") for p in network.parameters()) else network
    training = network.training
    twin.eval()
    try:
        with torch.no_grad():
            yield twin
    finally:
        network.train(training)


def _twin(network: Any) -> Any:
    with torch.device("meta"):
        twin = type(network)(network.config)
    weights: dict[str, Tensor] = {}
    for names, tensor in merged_weights(network, adapter=DEFAULT):
        weights |= dict.fromkeys(names, tensor.detach().clone())
    twin.load_state_dict(weights, assign=True)
    twin.tie_weights()
    for name, buffer in network.named_buffers():
        owner, _, last = name.rpartition(".")
        twin.get_submodule(owner)._buffers[last] = buffer
    twin.requires_grad_(False)
    return twin
