"""From scored answers to what the losses need: rewards by token, advantages, returns, and the step's statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.rl.advantages import Advantages, gae, grpo, rloo, token_advantages
from engine.rl.kl import k1
from engine.rl.log_probs import log_prob_gap
from engine.rl.masking import masked_sum, sequence_sums
from engine.rl.moments import Moments
from engine.rl.rewards import shaped_rewards
from engine.rl.value_loss import explained_variance
from engine.rl.whitening import whiten
from engine.spec.ppo import Ppo
from engine.train.ppo.episodes import Episode, stacked, unstacked

# Tokens of a repeated phrase.
_PHRASE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What the networks say of each episode's response tokens: float32 [length] each, by episode."""

    log_probs: Sequence[Tensor]  # of the policy before the step, by the network that trains
    ref_log_probs: Sequence[Tensor]
    entropy: Sequence[Tensor]
    values: Sequence[Tensor]  # zeros without a critic


@dataclass(frozen=True, slots=True, eq=False)
class Experience:
    """An episode with the constants of its losses: float32 [length] each."""

    episode: Episode
    old_log_probs: Tensor
    advantages: Tensor
    old_values: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.episode)


def estimate(
    episodes: Sequence[Episode], scored: Scored, scores: Tensor, groups: Tensor, *, kl_coef: float, settings: Ppo
) -> tuple[list[Experience], dict[str, float]]:
    """Return the experience of a global batch and its statistics by metric.

    Arguments:
        scores: float32 [episodes], the composed reward of each answer.
        groups: int64 [episodes]; answers to one prompt have one number.

    It is computed from the whole batch on every rank alike, so that no result depends on the number of ranks.
    """
    host = torch.device("cpu")
    longest = max(len(episode.response.ids) for episode in episodes)
    log_probs, ref, values, entropy, sampled = (
        stacked(rows, longest, host)
        for rows in (
            scored.log_probs,
            scored.ref_log_probs,
            scored.values,
            scored.entropy,
            [episode.response.log_probs for episode in episodes],
        )
    )
    lengths = torch.tensor([len(episode.response.ids) for episode in episodes])
    mask = torch.arange(longest) < lengths.unsqueeze(-1)
    kl = k1(log_probs, ref)
    rewards = shaped_rewards(scores, kl, mask, kl_coef)
    estimated = _advantages(rewards, values, mask, groups, settings)
    whitened = estimated.advantages
    if settings.whiten:
        whitened = whiten(whitened, mask, Moments.of(whitened, mask))
    tokens = float(mask.sum())
    statistics = {
        "score": float(scores.double().mean()),
        "shaped_reward": float(rewards.double().sum(-1).mean()),
        "kl": float(sequence_sums(kl.double(), mask).mean()),
        "kl_per_token": float(masked_sum(kl.double(), mask)) / tokens,
        "kl_coef": kl_coef,
        "entropy": float(masked_sum(entropy.double(), mask)) / tokens,
        "advantage": float(masked_sum(estimated.advantages.double(), mask)) / tokens,
        "logprob_gap": float(log_prob_gap(log_probs.double(), sampled.double(), mask)) / tokens,
        **lengths_and_ends(episodes),
    }
    if settings.estimator == "gae":
        explained = float(
            explained_variance(Moments.of(estimated.returns, mask), Moments.of(estimated.returns - values, mask))
        )
        statistics |= {"explained_variance": explained} if math.isfinite(explained) else {}
    experience = [
        Experience(*parts)
        for parts in zip(
            episodes,
            scored.log_probs,
            unstacked(whitened, episodes),
            scored.values,
            unstacked(estimated.returns, episodes),
            strict=True,
        )
    ]
    return experience, statistics


def _advantages(rewards: Tensor, values: Tensor, mask: Tensor, groups: Tensor, settings: Ppo) -> Advantages:
    if settings.estimator == "gae":
        return gae(rewards, values, mask, gamma=settings.gamma, lam=settings.lam)
    compare = rloo if settings.estimator == "rloo" else grpo
    # The divergence belongs into the reward, so whole shaped rewards are compared.
    compared = compare(rewards.sum(-1), groups)
    return Advantages(token_advantages(compared, mask), torch.zeros_like(rewards))


def lengths_and_ends(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return mean length, how answers end, and how much they repeat, by metric."""
    count = len(episodes)
    ended = sum(episode.response.ended for episode in episodes)
    phrases = [tuple(ids[at : at + _PHRASE]) for ids in map(_ids, episodes) for at in range(len(ids) - _PHRASE + 1)]
    distinct = sum(
        len({tuple(ids[at : at + _PHRASE]) for at in range(len(ids) - _PHRASE + 1)}) for ids in map(_ids, episodes)
    )
    return {
        "response_length": sum(len(episode.response.ids) for episode in episodes) / count,
        "eos_rate": ended / count,
        "truncated_rate": 1.0 - ended / count,
        "repetition_rate": 1.0 - distinct / len(phrases) if phrases else 0.0,
    }


def _ids(episode: Episode) -> list[int]:
    ids: list[int] = episode.response.ids.tolist()
    return ids
