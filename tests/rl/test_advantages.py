"""Advantages against their definitions, token by token and answer by answer."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from engine.rl.advantages import gae, grpo, rloo, token_advantages
from engine.rl.kl import k1
from engine.rl.rewards import shaped_rewards

GOLDEN_ADVANTAGES = [1.296119, 1.280125, 1.547500, 1.050000]
GOLDEN_RETURNS = [1.796119, 1.880125, 1.947500, 1.950000]


@pytest.mark.parametrize("garbage", [1e6, torch.nan, -torch.inf])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 2), (3, 0), (1, 4)])
def test_golden_vector(left: int, right: int, garbage: float) -> None:
    def row(*values: float) -> Tensor:
        return pad(torch.tensor([values]), (left, right), value=garbage)

    mask = pad(torch.ones(1, 4, dtype=torch.bool), (left, right), value=False)
    kl = k1(row(-1.0, -0.5, -2.0, -0.3), row(-1.2, -0.4, -1.5, -0.8))
    rewards = shaped_rewards(torch.tensor([2.0]), kl, mask, 0.1)
    result = gae(rewards, row(0.5, 0.6, 0.4, 0.9), mask, gamma=1.0, lam=0.95)
    inside = slice(left, left + 4)
    torch.testing.assert_close(result.advantages[0, inside], torch.tensor(GOLDEN_ADVANTAGES), atol=1e-6, rtol=0)
    torch.testing.assert_close(result.returns[0, inside], torch.tensor(GOLDEN_RETURNS), atol=1e-6, rtol=0)
    assert result.advantages.dtype == torch.float32
    assert (result.advantages[~mask] == 0).all() and (result.returns[~mask] == 0).all()


def brute_force(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """A_t = Σ_l (γλ)^l δ_{t+l} over an answer without gaps, by the definition."""
    after = [*values, 0.0][1:]
    errors = [reward + gamma * later - value for reward, later, value in zip(rewards, after, values, strict=True)]
    return [
        sum((gamma * lam) ** (later - t) * errors[later] for later in range(t, len(errors))) for t in range(len(errors))
    ]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and a mask with gaps anywhere; what is masked is NaN."""
    rows, length = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    row = st.lists(st.booleans(), min_size=length, max_size=length)
    mask = torch.tensor(draw(st.lists(row, min_size=rows, max_size=rows)))
    source = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    rewards, values = torch.randn(2, rows, length, generator=source, dtype=torch.float64)
    return rewards.masked_fill(~mask, torch.nan), values.masked_fill(~mask, torch.nan), mask


@given(batches(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_gae_is_its_definition_over_the_response_tokens_alone(
    batch: tuple[Tensor, Tensor, Tensor], gamma: float, lam: float
) -> None:
    rewards, values, mask = batch
    result = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for index, present in enumerate(mask):
        expected = brute_force(rewards[index, present].tolist(), values[index, present].tolist(), gamma, lam)
        exact = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(result.advantages[index, present], exact, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(result.returns[index, present], exact + values[index, present])
    assert (result.advantages[~mask] == 0).all() and (result.returns[~mask] == 0).all()


@given(batches(), st.floats(0.0, 1.0))
def test_with_lambda_one_the_returns_are_monte_carlo(batch: tuple[Tensor, Tensor, Tensor], gamma: float) -> None:
    rewards, values, mask = batch
    result = gae(rewards, values, mask, gamma=gamma, lam=1.0)
    for index, present in enumerate(mask):
        kept = rewards[index, present].tolist()
        monte_carlo = [sum(gamma**n * reward for n, reward in enumerate(kept[t:])) for t in range(len(kept))]
        exact = torch.tensor(monte_carlo, dtype=torch.float64)
        torch.testing.assert_close(result.returns[index, present], exact, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(
            result.advantages[index, present], exact - values[index, present], atol=1e-12, rtol=1e-12
        )


def test_gae_gives_constants_in_float32_for_a_critic_in_bfloat16() -> None:
    values = torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True)
    result = gae(torch.ones(1, 2), values, torch.ones(1, 2, dtype=torch.bool), gamma=1.0, lam=0.95)
    assert result.advantages.dtype == result.returns.dtype == torch.float32
    assert not result.advantages.requires_grad and not result.returns.requires_grad


answers = st.lists(st.tuples(st.floats(-50.0, 50.0), st.integers(-2, 3)), min_size=1, max_size=16)


@given(answers)
def test_rloo_and_grpo_compare_with_the_answers_to_the_same_prompt(answers: list[tuple[float, int]]) -> None:
    scores, groups = (list(column) for column in zip(*answers, strict=True))
    left_out, relative = [], []
    for index, (score, group) in enumerate(answers):
        others = [other for place, (other, its) in enumerate(answers) if its == group and place != index]
        left_out.append(score - statistics.fmean(others) if others else 0.0)
        deviation = statistics.stdev([score, *others]) if others else 0.0
        relative.append((score - statistics.fmean([score, *others])) / (deviation + 1e-4))
    tensors = torch.tensor(scores, dtype=torch.float64), torch.tensor(groups)
    torch.testing.assert_close(rloo(*tensors), torch.tensor(left_out, dtype=torch.float64), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(grpo(*tensors), torch.tensor(relative, dtype=torch.float64), atol=1e-7, rtol=1e-7)


def test_answers_that_are_alone_or_all_alike_teach_nothing() -> None:
    scores, groups = torch.tensor([5.0, 0.1, 0.1, 0.1]), torch.tensor([0, 1, 1, 1])
    assert rloo(scores, groups).abs().max() < 1e-6
    assert grpo(scores, groups).abs().max() < 1e-6


def test_unscaled_grpo_is_rloo_but_for_the_factor_of_the_group() -> None:
    scores, groups = torch.tensor([1.0, 4.0, 2.0, 5.0, -1.0]), torch.tensor([7, 7, 3, 3, 3])
    factor = torch.tensor([2 / 1, 2 / 1, 3 / 2, 3 / 2, 3 / 2])
    torch.testing.assert_close(grpo(scores, groups, scale=False) * factor, rloo(scores, groups))


def test_an_answers_advantage_stands_at_each_of_its_tokens() -> None:
    mask = torch.tensor([[True, False, True], [False, True, False]])
    assert token_advantages(torch.tensor([2.0, -1.0]), mask).tolist() == [[2.0, 0.0, 2.0], [0.0, -1.0, 0.0]]


def test_shapes_that_would_broadcast_are_refused() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="different shapes"):
        gae(torch.zeros(2, 3), torch.zeros(2, 1), mask, gamma=1.0, lam=1.0)
    with pytest.raises(ValueError, match="different shapes"):
        rloo(torch.zeros(3), torch.zeros(1, dtype=torch.int64))
