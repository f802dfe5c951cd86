"""The passes over a rollout: clipped losses of policy and critic, minibatch by minibatch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engine.data.examples import Example
from engine.generate.sampling import episode_seed
from engine.job.runtime import Runtime
from engine.job.stopping import StopRequest
from engine.rl.masking import masked_sum
from engine.rl.policy_loss import policy_loss
from engine.rl.value_loss import value_loss
from engine.spec.models import PpoSpec
from engine.train.batches import MicroBatch, collate, plan_parts
from engine.train.dataset import Stream, rows_of
from engine.train.ppo.episodes import EpisodeBatch, stacked
from engine.train.ppo.experience import Experience
from engine.train.ppo.networks import Networks
from engine.train.utilisation import CRITIC, POLICY, Pass

# Of the seed of a pass, beside those of episodes.
_ORDER = -1


@dataclass(frozen=True, slots=True)
class _Rates:
    """The learning rates of a step; None: it does not learn."""

    policy: float | None
    critic: float | None


class _Totals:
    """Sums over the micro-batches of a rank, by metric."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()


class Update:
    """Takes the optimiser steps of policy and critic."""

    def __init__(
        self,
        spec: PpoSpec,
        networks: Networks,
        ptx: Sequence[Example],
        *,
        pad_id: int,
        ranks: Runtime,
        mark: Callable[[int, str], None],
    ) -> None:
        self._spec, self._networks, self._pad_id, self._ranks, self._mark = spec, networks, pad_id, ranks, mark
        rows = rows_of(ptx, spec.ptx.data) if spec.ptx is not None else []
        self._ptx = Stream(rows, spec.seed) if rows else None
        self.ptx_rows_seen = 0  # the cursor of the PTX data
        self.passes: list[Pass] = []  # those of the last `learn`

    def learn(
        self, experience: Sequence[Experience], step: int, policy_lr: float, critic_lr: float, stop: StopRequest
    ) -> tuple[dict[str, float], bool]:
        """Pass over the experience; return the means over all response tokens by metric, and whether to stop."""
        spec = self._spec
        # The critic learns first, if it is to, and the policy when it has something to be guided by.
        guided = step > spec.critic.warmup_steps or not self._networks.has_critic
        rates = _Rates(policy_lr if guided else None, critic_lr if self._networks.has_critic else None)
        totals: dict[str, float] = defaultdict(float)
        stops, self.passes = False, []
        for minibatch in self._minibatches(experience, step):
            self._mark(step, "update")
            sums = self._minibatch(minibatch, rates, stop)
            stops |= sums.pop("stops") > 0
            for name, value in sums.items():
                totals[name] += value
            limit = spec.ppo.early_stop_kl
            if limit is not None and sums["policy_tokens"] and sums["approx_kl"] > limit * sums["policy_tokens"]:
                totals["early_stops"] += 1
                break
        return self._means(totals), stops

    def _minibatches(self, experience: Sequence[Experience], step: int) -> Sequence[Sequence[Experience]]:
        spec, found = self._spec, []
        for epoch in range(spec.ppo.inner_epochs):
            seed = episode_seed(spec.seed, step, _ORDER, epoch)
            order = torch.randperm(len(experience), generator=torch.Generator().manual_seed(seed)).tolist()
            size = spec.train.batch_size
            found += [[experience[i] for i in order[at : at + size]] for at in range(0, len(order), size)]
        return found

    def _minibatch(self, minibatch: Sequence[Experience], rates: _Rates, stop: StopRequest) -> dict[str, float]:
        """Take one optimiser step of each network that learns; return sums over the ranks."""
        ranks, train = self._ranks, self._spec.train
        tokens = sum(len(one.old_log_probs) for one in minibatch)
        parts = plan_parts(
            minibatch,
            world_size=ranks.world_size,
            micro_batch_size=train.micro_batch_size,
            micro_batch_tokens=train.micro_batch_tokens,
        )[ranks.rank]
        lengths = [len(one) for one in minibatch]
        self.passes += [Pass(POLICY, lengths, trains=True)] if rates.policy is not None else []
        self.passes += [Pass(CRITIC, lengths, trains=True)] if rates.critic is not None else []
        totals = _Totals()
        mixes = rates.policy is not None and self._ptx is not None
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            batch = EpisodeBatch.of([one.episode for one in part], self._pad_id, ranks.device)
            self._networks.backward(
                policy=partial(self._policy_loss, part, batch, tokens, totals) if rates.policy is not None else None,
                critic=partial(self._value_loss, part, batch, tokens, totals) if rates.critic is not None else None,
                policy_last=last and not mixes,
                critic_last=last,
            )
        ptx_tokens = self._ptx_parts(totals) if mixes else 0
        summed = ranks.sum(*map(float, totals.sums.values()), stop.requested)
        sums = dict(zip((*totals.sums, "stops"), summed, strict=True))
        sums |= {"policy_tokens": tokens * (rates.policy is not None), "value_tokens": tokens}
        sums |= {"ptx_tokens": ptx_tokens, "steps": 1}
        return sums | self._networks.step(policy_lr=rates.policy, critic_lr=rates.critic)

    def _policy_loss(self, part: Sequence[Experience], batch: EpisodeBatch, tokens: int, totals: _Totals) -> Tensor:
        settings = self._spec.ppo
        log_probs, entropy = self._networks.log_probs(batch)
        old, advantages = (self._stacked(part, name, batch) for name in ("old_log_probs", "advantages"))
        losses = policy_loss(
            log_probs, old, advantages, batch.response_mask, clip=settings.clip_range, dual_clip=settings.dual_clip
        )
        totals.add(
            policy_loss=losses.loss, clip_fraction=losses.clipped, ratio=losses.ratio, approx_kl=losses.approx_kl
        )
        return (losses.loss - settings.entropy_coef * masked_sum(entropy, batch.response_mask)) / tokens

    def _value_loss(self, part: Sequence[Experience], batch: EpisodeBatch, tokens: int, totals: _Totals) -> Tensor:
        old, returns = (self._stacked(part, name, batch) for name in ("old_values", "returns"))
        values = self._networks.values(batch)
        losses = value_loss(values, old, returns, batch.response_mask, clip=self._spec.critic.clip_range)
        totals.add(value_loss=losses.loss)
        return losses.loss / tokens

    def _ptx_parts(self, totals: _Totals) -> int:
        """Add the gradient of the pretraining term; return how many tokens of the global batch carry loss."""
        ptx, ranks = self._spec.ptx, self._ranks
        assert ptx is not None and self._ptx is not None
        rows = self._ptx.batch(self.ptx_rows_seen, ptx.batch_size)
        self.ptx_rows_seen += len(rows)
        tokens = max(1, sum(row.loss_tokens for row in rows))
        self.passes.append(Pass(POLICY, [length for row in rows for length in row.lengths], trains=True))
        train = self._spec.train
        parts = plan_parts(
            rows,
            world_size=ranks.world_size,
            micro_batch_size=train.micro_batch_size,
            micro_batch_tokens=train.micro_batch_tokens,
        )[ranks.rank]
        for index, part in enumerate(parts):
            batch, last = collate(part, self._pad_id, ranks.device), index == len(parts) - 1
            loss = partial(self._ptx_loss, batch, ptx.coef / tokens, totals)
            self._networks.backward(policy=loss, policy_last=last, critic_last=False)
        return tokens

    def _ptx_loss(self, batch: MicroBatch, scale: float, totals: _Totals) -> Tensor:
        loss = self._networks.language_model_loss(batch)
        totals.add(ptx_loss=loss)
        return scale * loss

    def _stacked(self, part: Sequence[Experience], name: str, batch: EpisodeBatch) -> Tensor:
        rows = [getattr(one, name) for one in part]
        return stacked(rows, batch.tokens.shape[1], self._ranks.device)

    def _means(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Return the sums over all minibatches as means: losses and the like by token, norms by step."""
        by = {
            "policy_loss": "policy_tokens",
            "clip_fraction": "policy_tokens",
            "ratio": "policy_tokens",
            "approx_kl": "policy_tokens",
            "value_loss": "value_tokens",
            "ptx_loss": "ptx_tokens",
            "grad_norm": "steps",
            "overflow": "steps",
            "value_grad_norm": "steps",
        }
        if self._spec.train.precision != "fp16":  # nothing else overflows
            del by["overflow"]
        means = {name: totals[name] / totals[unit] for name, unit in by.items() if name in totals}
        if self._spec.ppo.early_stop_kl is not None:
            means["early_stops"] = totals.get("early_stops", 0.0)
        return means
