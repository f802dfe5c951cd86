"""Networks of their own for policy, critic, reference and reward models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.generate.sampling import takes_logits_to_keep
from engine.job.runtime import Runtime
from engine.spec.models import PpoSpec
from engine.train.adapters import using_adapter
from engine.train.batches import MicroBatch
from engine.train.evaluation import evaluating
from engine.train.learner import Learner
from engine.train.loss import summed_loss
from engine.train.ppo import building
from engine.train.ppo.episodes import EpisodeBatch
from engine.train.ppo.networks import Judge, Networks, Reference, token_log_probs, token_values, whole
from engine.train.scoring import scores_of

_NORMS = {"policy": "grad_norm", "critic": "value_grad_norm"}


class SeparateNetworks(Networks):
    """Each has its own ZeRO stage and offload. A policy with adapters is its own reference, without them."""

    def __init__(self, spec: PpoSpec, tokenizer: Any, ranks: Runtime) -> None:
        self.temperature = spec.rollout.temperature
        self._policy = building.build_policy(spec, tokenizer, ranks)
        self._keeps_logits = takes_logits_to_keep(self._policy.network)
        self.has_critic = spec.ppo.estimator == "gae"
        self.learners = {"policy": self._policy}
        if self.has_critic:
            self.learners["critic"] = building.build_critic(spec, tokenizer, ranks)
        self._reference = None
        if spec.model.lora is None or spec.reference.path is not None:
            self._reference = building.build_reference(spec, tokenizer, ranks)
        self._judges: dict[str, building.Frozen] = {}
        self.judged: dict[str, tuple[float, float]] = {}
        for name, term in spec.rewards.items():
            if term.kind == "model":
                self._judges[name] = building.build_judge(spec, term, tokenizer, ranks)
                self.judged[name] = building.exported_normalisation(Path(term.path or ""))

    @property
    def policy(self) -> Any:
        """The policy as a causal language model."""
        return self._policy.network

    @contextmanager
    def decoding(self) -> Iterator[Any]:
        """Have the policy with all its weights on this rank."""
        with whole(self.policy) as network:
            yield network

    def log_probs(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy of the policy at each response token."""
        return token_log_probs(self._policy.engine, batch, self.temperature, keeps_logits=self._keeps_logits)

    def language_model_loss(self, batch: MicroBatch) -> Tensor:
        """Return the policy's summed loss on text that it did not write."""
        return summed_loss(self._policy.engine, batch, keep_logits=self._keeps_logits)

    def values(self, batch: EpisodeBatch) -> Tensor:
        """Return the critic's value before each response token."""
        return token_values(self.learners["critic"].engine(batch.input_ids), batch)

    @contextmanager
    def reference(self) -> Iterator[Reference]:
        """Have the reference at work."""
        with ExitStack() as stack:
            if self._reference is None:
                stack.enter_context(evaluating(self._policy.engine))
                stack.enter_context(using_adapter(self.policy, None))
                network = self._policy.engine
            else:
                network = stack.enter_context(self._reference.at_work())
            yield lambda batch: token_log_probs(network, batch, self.temperature, keeps_logits=self._keeps_logits)[0]

    @contextmanager
    def judge(self, name: str) -> Iterator[Judge]:
        """Have the reward model of a term at work."""
        with self._judges[name].at_work() as network:
            yield lambda input_ids: scores_of(network, input_ids)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Compute policy and critic without gradients."""
        with ExitStack() as stack:
            for learner in self.learners.values():
                stack.enter_context(evaluating(learner.engine))
            yield

    def backward(
        self,
        *,
        policy: Callable[[], Tensor] | None = None,
        critic: Callable[[], Tensor] | None = None,
        policy_last: bool,
        critic_last: bool,
    ) -> None:
        """Add the gradients of losses, one network after the other."""
        if policy is not None:
            self._policy.backward(policy(), last=policy_last)
        if critic is not None:
            self.learners["critic"].backward(critic(), last=critic_last)

    def step(self, *, policy_lr: float | None, critic_lr: float | None) -> dict[str, float]:
        """Take an optimiser step of what has a learning rate."""
        rates = {"policy": policy_lr, "critic": critic_lr}
        stepped = {name: _stepped(self.learners[name], lr) for name, lr in rates.items() if lr is not None}
        norms = {_NORMS[name]: norm for name, norm in stepped.items()}
        return norms | {"overflow": float(any(self.learners[name].overflowed for name in stepped))}


def _stepped(learner: Learner, lr: float) -> float:
    learner.set_lr(lr)
    return learner.step()
