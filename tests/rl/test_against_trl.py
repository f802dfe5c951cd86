"""Our mathematics against TRL's own code: equal where both mean the same, different where the difference is known."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from trl.experimental.ppo.ppo_trainer import INVALID_LOGPROB, masked_mean, masked_whiten
from trl.trainer.utils import entropy_from_logits, nanstd, selective_log_softmax

from engine.rl.advantages import gae, grpo, rloo
from engine.rl.entropy import entropy
from engine.rl.kl import k1, k3
from engine.rl.log_probs import log_probs
from engine.rl.moments import Moments
from engine.rl.policy_loss import policy_loss
from engine.rl.preference import pairwise_loss
from engine.rl.rewards import shaped_rewards
from engine.rl.value_loss import value_loss
from engine.rl.whitening import whiten

ROWS, LENGTH, GROUP = 6, 7, 3
KL_COEF, GAMMA, LAM = 0.1, 0.98, 0.9


def their_source(module: str) -> list[str]:
    """The lines of a module of TRL, of which some need libraries that its package does not ask for."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text().splitlines()


def their_lines(module: str, first: str, last: str, **names: Any) -> dict[str, Any]:
    """Run the lines of a TRL module from the one that starts with `first` to the one that starts with `last`.

    TRL keeps this mathematics within its training loops, where nothing else can call it.
    """
    lines = their_source(module)
    begin = next(index for index, line in enumerate(lines) if line.strip().startswith(first))
    end = next(index for index, line in enumerate(lines) if index >= begin and line.strip().startswith(last))
    scope = {"torch": torch, "masked_mean": masked_mean, "masked_whiten": masked_whiten, "nanstd": nanstd, **names}
    exec(textwrap.dedent("\n".join(lines[begin : end + 1])), scope)
    return scope


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def mask(draw: torch.Generator) -> Tensor:
    """Right-padded responses, of which one is as long as the batch."""
    lengths = torch.tensor([3, 5, LENGTH, 1, 4, 2])
    return torch.arange(LENGTH) < lengths.unsqueeze(-1)


@pytest.fixture
def rollout(draw: torch.Generator, mask: Tensor) -> dict[str, Tensor]:
    log_probs, ref, values = torch.randn(3, ROWS, LENGTH, generator=draw, dtype=torch.float64)
    return {
        "lp": log_probs - 2.0,
        "ref": ref - 2.0,
        "values": values,
        "scores": torch.randn(ROWS, generator=draw).double(),
    }


def their_rollout(rollout: dict[str, Tensor], mask: Tensor, estimator: str = "k1") -> dict[str, Any]:
    lengths = mask.sum(1) - 1  # TRL's "sequence length" is the place of the last token
    args = SimpleNamespace(kl_coef=KL_COEF, kl_estimator=estimator, gamma=GAMMA, lam=LAM, whiten_rewards=False)
    return their_lines(
        "trl.experimental.ppo.ppo_trainer",
        "sequence_lengths_p1 = ",
        "advantages = torch.masked_fill(advantages, padding_mask, 0)",
        args=args,
        sequence_lengths=lengths,
        response_idxs=torch.arange(LENGTH).repeat(ROWS, 1),
        padding_mask=~mask,
        logprobs=rollout["lp"].masked_fill(~mask, INVALID_LOGPROB),
        ref_logprobs=rollout["ref"].masked_fill(~mask, INVALID_LOGPROB),
        values=rollout["values"],
        scores=rollout["scores"],
        responses=torch.zeros(ROWS, LENGTH),
    )


def test_log_probs_and_entropy_are_equal(draw: torch.Generator) -> None:
    logits = 3 * torch.randn(4, 5, 31, generator=draw, dtype=torch.float64)
    tokens = torch.randint(31, (4, 5), generator=draw)
    torch.testing.assert_close(log_probs(logits, tokens), selective_log_softmax(logits, tokens))
    torch.testing.assert_close(entropy(logits), entropy_from_logits(logits))


def test_in_bfloat16_theirs_are_rounded_and_ours_are_not(draw: torch.Generator) -> None:
    logits = (3 * torch.randn(4, 5, 31, generator=draw)).bfloat16()
    tokens = torch.randint(31, (4, 5), generator=draw)
    exact = log_probs(logits.double(), tokens)
    assert (log_probs(logits, tokens) - exact).abs().max() < 1e-5
    theirs = selective_log_softmax(logits, tokens)
    assert theirs.dtype == torch.bfloat16
    assert (theirs.double() - exact).abs().max() > 1e-3


def test_kl_in_the_reward_is_equal(rollout: dict[str, Tensor], mask: Tensor) -> None:
    for name, ours in (("k1", k1), ("k3", k3)):
        theirs = their_rollout(rollout, mask, name)["kl"]
        torch.testing.assert_close(ours(rollout["lp"], rollout["ref"])[mask], theirs[mask])


def test_advantages_differ_because_they_put_the_score_a_token_late(rollout: dict[str, Tensor], mask: Tensor) -> None:
    theirs = their_rollout(rollout, mask)
    rewards = shaped_rewards(rollout["scores"], k1(rollout["lp"], rollout["ref"]), mask, KL_COEF)
    full = mask.all(1)
    torch.testing.assert_close(rewards[full], theirs["rewards"][full])
    assert (rewards[~full] != theirs["rewards"][~full]).any(1).all()
    # A row that fills the batch has no later column, and there both agree.
    ours = gae(rewards, rollout["values"], mask, gamma=GAMMA, lam=LAM)
    torch.testing.assert_close(ours.returns[full], theirs["returns"][full])
    assert ((ours.returns - theirs["returns"])[mask & ~full.unsqueeze(-1)].abs() > 1e-6).all()
    # With that column counted as one more token of the response, whose divergence is 0, all rows agree.
    later = mask | torch.nn.functional.pad(mask, (1, -1))
    kl = k1(rollout["lp"], rollout["ref"]).masked_fill(~mask, 0.0)
    shifted = gae(shaped_rewards(rollout["scores"], kl, later, KL_COEF), rollout["values"], later, gamma=GAMMA, lam=LAM)
    torch.testing.assert_close(shifted.returns[mask], theirs["returns"][mask])
    whitened = whiten(shifted.advantages, mask, Moments.of(shifted.advantages, mask))
    tokens = int(mask.sum())
    torch.testing.assert_close(whitened * ((tokens - 1) / tokens) ** 0.5, theirs["advantages"], atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitening_differs_by_bessels_factor(rollout: dict[str, Tensor], mask: Tensor, shift_mean: bool) -> None:
    values = rollout["values"]
    kept = values[mask]
    factor = ((len(kept) - 1) / len(kept)) ** 0.5
    mean = 0.0 if shift_mean else kept.mean()
    ours = whiten(values, mask, Moments.of(values, mask), shift_mean=shift_mean)[mask]
    theirs = masked_whiten(values, mask, shift_mean=shift_mean)[mask]
    torch.testing.assert_close((ours - mean) * factor + mean, theirs, atol=1e-7, rtol=1e-7)
    assert not torch.allclose(ours, theirs, rtol=1e-4)


def test_policy_and_value_losses_are_their_means_times_the_tokens(rollout: dict[str, Tensor], mask: Tensor) -> None:
    new = (rollout["lp"] + 0.3 * rollout["values"]).masked_fill(~mask, INVALID_LOGPROB)
    old = rollout["lp"].masked_fill(~mask, INVALID_LOGPROB)
    critic, returns = rollout["values"] + 0.4 * rollout["ref"], rollout["values"] - rollout["lp"]
    theirs = their_lines(
        "trl.experimental.ppo.ppo_trainer",
        "vpredclipped = ",
        "loss = pg_loss",
        args=SimpleNamespace(cliprange=0.2, cliprange_value=0.2, vf_coef=0.1),
        vpred=critic,
        mb_values=rollout["values"],
        mb_return=returns,
        new_logprobs=new,
        mb_logprobs=old,
        mb_advantage=rollout["ref"],
        padding_mask=~mask,
        padding_mask_p1=~mask,  # theirs has the late column as well
        micro_batch_inds=slice(None),
    )
    policy = policy_loss(new, old, rollout["ref"], mask, clip=0.2)
    value = value_loss(critic, rollout["values"], returns, mask, clip=0.2)
    torch.testing.assert_close(policy.loss / policy.tokens, theirs["pg_loss"])
    torch.testing.assert_close(value.loss / value.tokens, theirs["vf_loss"])
    torch.testing.assert_close((value.clipped / value.tokens).float(), theirs["vf_clipfrac"].float())
    clipped = masked_mean((theirs["pg_losses2"] > theirs["pg_losses"]).float(), mask)
    torch.testing.assert_close((policy.clipped / policy.tokens).float(), clipped)
    # Their approximate divergence is ½(Δ log p)², averaged over pads as well; ours is never biased nor diluted.
    assert not torch.allclose(policy.approx_kl / policy.tokens, 0.5 * (theirs["logprobs_diff"] ** 2).mean(), rtol=0.05)


def test_rloo_is_equal(draw: torch.Generator) -> None:
    scores = torch.randn(ROWS, generator=draw, dtype=torch.float64)
    theirs = their_lines(
        "trl.trainer.rloo_trainer",
        "grouped_rewards = ",
        "advantages = torch.zeros_like(rewards)",
        rewards=scores,
        num_generations=GROUP,
    )
    torch.testing.assert_close(rloo(scores, torch.arange(ROWS) // GROUP), theirs["advantages"])


def test_grpo_is_equal_with_and_without_scale(draw: torch.Generator) -> None:
    scores = torch.randn(ROWS, generator=draw, dtype=torch.float64)
    groups = torch.arange(ROWS) // GROUP
    theirs = their_lines(
        "trl.trainer.grpo_trainer",
        "std_rewards = nanstd(rewards.view(",
        "std_rewards = std_rewards.repeat",
        rewards=scores,
        num_generations=GROUP,
    )
    centred = scores - scores.view(-1, GROUP).mean(1).repeat_interleave(GROUP)
    assert "advantages = advantages / (std_rewards + 1e-4)" in map(str.strip, their_source("trl.trainer.grpo_trainer"))
    torch.testing.assert_close(grpo(scores, groups), centred / (theirs["std_rewards"] + 1e-4))
    torch.testing.assert_close(grpo(scores, groups, scale=False), centred)


@pytest.mark.parametrize("centering", [None, 0.01])
@pytest.mark.parametrize("with_margin", [True, False])
def test_the_reward_loss_is_their_mean_times_the_pairs(
    draw: torch.Generator, centering: float | None, with_margin: bool
) -> None:
    chosen, rejected, margin = torch.randn(3, ROWS, generator=draw, dtype=torch.float64)
    inputs = {"margin": margin} if with_margin else {}
    theirs = their_lines(
        "trl.trainer.reward_trainer",
        "rewards_chosen, rewards_rejected = ",
        "loss += self.args.center_rewards_coefficient",
        self=SimpleNamespace(args=SimpleNamespace(center_rewards_coefficient=centering)),
        outputs=SimpleNamespace(logits=torch.cat([chosen, rejected]).unsqueeze(-1)),
        inputs=inputs,
        nn=torch.nn,
    )
    ours = pairwise_loss(chosen, rejected, margin=inputs.get("margin"), centering=centering or 0.0)
    torch.testing.assert_close(ours.loss / ours.pairs, theirs["loss"])
