"""One optimiser step of everything: no split over ranks and micro-batches and no padding changes it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from engine.rl.advantages import gae
from engine.rl.kl import k1, kl_loss
from engine.rl.log_probs import log_probs_and_entropy
from engine.rl.masking import masked_sum
from engine.rl.moments import Moments
from engine.rl.policy_loss import policy_loss
from engine.rl.preference import pairwise_loss
from engine.rl.ptx import ptx_loss
from engine.rl.rewards import shaped_rewards
from engine.rl.value_loss import explained_variance, value_loss
from engine.rl.whitening import whiten

ROWS, LENGTH, VOCABULARY = 6, 7, 5
Split = list[list[tuple[list[int], int, int]]]  # ranks of micro-batches: rows, pads on the left, pads on the right


@dataclass
class Step:
    """The parameters of an actor and a critic that are tables, and one batch of experience."""

    logits: Tensor
    values: Tensor
    tokens: Tensor
    mask: Tensor
    text_mask: Tensor
    old: Tensor
    ref: Tensor
    scores: Tensor

    @classmethod
    def drawn(cls, seed: int, dtype: torch.dtype) -> Step:
        source = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=source, dtype=torch.float64).to(dtype)

        logits, values = normal(ROWS, LENGTH, VOCABULARY), normal(ROWS, LENGTH)
        tokens = torch.randint(VOCABULARY, (ROWS, LENGTH), generator=source)
        mask = torch.rand(ROWS, LENGTH, generator=source) < 0.7
        mask[0, -1] = True  # at least one response token
        near = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        old, ref = near + 0.2 * normal(ROWS, LENGTH), near + 0.5 * normal(ROWS, LENGTH)
        text_mask = mask & (torch.arange(LENGTH) > 0)
        return cls(logits, values, tokens, mask, text_mask, old, ref, normal(ROWS))

    def taken(self, split: Split) -> dict[str, Tensor]:
        """Gradients and metrics of the step, computed as ranks would: each knows its rows and what was gathered."""
        actor, critic = self.logits.clone().requires_grad_(), self.values.clone().requires_grad_()
        experience = []
        for rank in split:
            for rows, left, right in rank:

                def part(tensor: Tensor, rows: list[int] = rows, sides: tuple[int, int] = (left, right)) -> Tensor:
                    garbage = torch.nan if tensor.is_floating_point() else 0
                    return pad(tensor[rows], (*((0, 0) if tensor.dim() == 3 else ()), *sides), value=garbage)

                mask = part(self.mask)
                rewards = shaped_rewards(self.scores[rows], k1(part(self.old), part(self.ref)), mask, 0.1)
                experience.append((part, mask, gae(rewards, part(self.values), mask, gamma=0.99, lam=0.9)))
        moments, returns, errors = (
            Moments.merged(torch.stack([Moments.of(*chosen).packed() for chosen in every]))
            for every in (
                [(one.advantages, mask) for _, mask, one in experience],
                [(one.returns, mask) for _, mask, one in experience],
                [(one.returns - part(self.values), mask) for part, mask, one in experience],
            )
        )
        tokens = moments.count.to(self.logits.dtype)
        sums: dict[str, Tensor] = {}
        for part, mask, one in experience:
            log_probs, entropy = log_probs_and_entropy(
                part(actor), part(self.tokens), temperature=0.8, chunk_elements=10
            )
            advantages = whiten(one.advantages, mask, moments)
            policy = policy_loss(log_probs, part(self.old), advantages, mask, clip=0.2, dual_clip=3.0)
            value = value_loss(part(critic), part(self.values) + 0.1, one.returns, mask, clip=0.2)
            pairs = pairwise_loss(part(critic)[mask], part(self.old)[mask], centering=0.01)
            loss = (
                policy.loss
                + 0.5 * value.loss
                - 0.01 * masked_sum(entropy, mask)
                + 0.05 * kl_loss(log_probs, part(self.ref), mask)
                + pairs.loss
                + 0.3 * ptx_loss(part(actor), part(self.tokens), part(self.text_mask))
            ) / tokens
            loss.backward()
            for name, number in {
                "loss": loss.detach(),
                "clipped": policy.clipped + value.clipped,
                "ratio": policy.ratio / tokens,
                "approx_kl": policy.approx_kl / tokens,
                "correct": pairs.correct,
            }.items():
                sums[name] = sums.get(name, torch.zeros_like(number)) + number
        assert actor.grad is not None and critic.grad is not None
        variance = explained_variance(returns, errors).to(self.logits.dtype)
        return {"actor": actor.grad, "critic": critic.grad, "explained_variance": variance, **sums}


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """Any rows on any of 1, 2 or 4 ranks, in any micro-batches, of which some are empty, padded by any width."""
    order = draw(st.permutations(range(ROWS)))
    ranks, micros, width = draw(st.sampled_from([1, 2, 4])), 3, st.integers(0, 3)
    places = st.tuples(st.integers(0, ranks - 1), st.integers(0, micros - 1))
    placed = dict(zip(order, draw(st.lists(places, min_size=ROWS, max_size=ROWS)), strict=True))
    return [
        [([row for row in order if placed[row] == (rank, micro)], draw(width), draw(width)) for micro in range(micros)]
        for rank in range(ranks)
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@given(seed=st.integers(0, 10_000), split=splits())
@settings(max_examples=40)
def test_no_split_and_no_padding_changes_a_step(dtype: torch.dtype, tolerance: float, seed: int, split: Split) -> None:
    step = Step.drawn(seed, dtype)
    whole, parts = step.taken([[(list(range(ROWS)), 0, 0)]]), step.taken(split)
    # A sum in another order rounds differently: in float32 by a few of its last digits.
    torch.testing.assert_close(parts, whole, atol=tolerance, rtol=4 * tolerance)
