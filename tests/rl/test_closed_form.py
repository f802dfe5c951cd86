"""PPO where its optimum is known: π* ∝ π_ref · exp(reward / kl_coef) over fifteen sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from engine.rl.advantages import gae, rloo, token_advantages
from engine.rl.kl import k1
from engine.rl.log_probs import log_probs
from engine.rl.masking import sequence_sums
from engine.rl.moments import Moments
from engine.rl.policy_loss import policy_loss
from engine.rl.rewards import shaped_rewards
from engine.rl.value_loss import value_loss
from engine.rl.whitening import whiten

END, LONGEST = 2, 3  # two words and an end; an answer ends by itself or at the third token
KL_COEF, TEMPERATURE = 0.4, 0.7
STEPS, EPISODES, INNER_EPOCHS, GROUP = 150, 1024, 2, 8


class World:
    """Every answer, token by token, and the state (its prefix) that predicts each token."""

    def __init__(self) -> None:
        prefixes = [p for n in range(LONGEST) for p in itertools.product(range(END), repeat=n)]
        answers = [(*p, END) for p in prefixes] + list(itertools.product(range(END), repeat=LONGEST))
        self.states = torch.zeros(len(answers), LONGEST, dtype=torch.int64)
        self.tokens = torch.zeros_like(self.states)
        self.mask = torch.zeros(len(answers), LONGEST, dtype=torch.bool)
        for row, answer in enumerate(answers):
            for column, token in enumerate(answer):
                self.states[row, column] = prefixes.index(answer[:column])
                self.tokens[row, column] = token
                self.mask[row, column] = True
        self.prefixes = len(prefixes)
        draw = torch.Generator().manual_seed(0)
        self.reference = torch.randn(len(prefixes), END + 1, generator=draw)
        self.rewards = torch.randn(len(answers), generator=draw)

    def token_log_probs(self, table: Tensor, rows: Tensor) -> Tensor:
        return log_probs(table[self.states[rows]], self.tokens[rows], temperature=TEMPERATURE)

    def answer_log_probs(self, table: Tensor) -> Tensor:
        every = torch.arange(len(self.rewards))
        return sequence_sums(self.token_log_probs(table, every), self.mask)

    def standing(self, answer_log_probs: Tensor) -> tuple[float, float]:
        """Expected reward, and divergence from the reference in nats per sequence: exact sums over all answers."""
        p = answer_log_probs.exp()
        divergence = (p * (answer_log_probs - self.answer_log_probs(self.reference))).sum()
        return (p * self.rewards).sum().item(), divergence.item()


def trained(world: World, estimator: str) -> Tensor:
    """Return the policy's table after PPO with the divergence in the reward."""
    draw = torch.Generator().manual_seed(1)
    policy, critic = world.reference.clone().requires_grad_(), torch.zeros(world.prefixes, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [policy], "lr": 0.05}, {"params": [critic], "lr": 0.1}], eps=1e-5)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, STEPS)
    for _ in range(STEPS):
        with torch.no_grad():
            rows = torch.multinomial(world.answer_log_probs(policy).exp(), EPISODES, replacement=True, generator=draw)
            mask, states = world.mask[rows], world.states[rows]
            old, ref = world.token_log_probs(policy, rows), world.token_log_probs(world.reference, rows)
            rewards = shaped_rewards(world.rewards[rows], k1(old, ref), mask, KL_COEF)
            old_values = critic[states]
            estimate = gae(rewards, old_values, mask, gamma=1.0, lam=0.95)
            advantages = estimate.advantages
            if estimator == "rloo":
                groups = torch.arange(EPISODES) // GROUP
                advantages = token_advantages(rloo(rewards.sum(1), groups), mask)
            advantages = whiten(advantages, mask, Moments.of(advantages, mask))
        for part in torch.randperm(EPISODES, generator=draw).chunk(2) * INNER_EPOCHS:
            new = world.token_log_probs(policy, rows[part])
            actor = policy_loss(new, old[part], advantages[part], mask[part], clip=0.2)
            value = value_loss(critic[states[part]], old_values[part], estimate.returns[part], mask[part], clip=0.2)
            optimiser.zero_grad()
            ((actor.loss + value.loss) / actor.tokens).backward()
            optimiser.step()
        schedule.step()
    return policy.detach()


@pytest.mark.parametrize("estimator", ["gae", "rloo"])
def test_ppo_reaches_the_reward_and_the_divergence_of_the_optimum(estimator: str) -> None:
    world = World()
    start = world.answer_log_probs(world.reference)
    assert start.exp().sum().item() == pytest.approx(1.0, abs=1e-6)
    optimum = (start + world.rewards / KL_COEF).log_softmax(-1)
    best_reward, best_divergence = world.standing(optimum)
    assert best_reward > world.standing(start)[0] + 0.5  # there is something to learn
    reward, divergence = world.standing(world.answer_log_probs(trained(world, estimator)))
    assert reward == pytest.approx(best_reward, rel=0.03)
    assert divergence == pytest.approx(best_divergence, rel=0.03)
