"""The reward of a global batch from what its terms say."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import InvalidInput, RunFailed
from engine.spec.ppo import RewardTerm
from engine.train.ppo.reward import Reward

Truncation = Literal["replace", "subtract", "keep"]


def reward(
    terms: Mapping[str, Mapping[str, object]],
    frozen: Mapping[str, tuple[float, float]] | None = None,
    truncation: Truncation = "keep",
) -> Reward:
    parsed = {name: RewardTerm.model_validate({"kind": "abstention"} | dict(term)) for name, term in terms.items()}
    return Reward(parsed, frozen or {}, truncation=truncation, penalty=1.5)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def none_of(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.bool)


TERMS: dict[str, dict[str, object]] = {
    "model": {"weight": 2.0, "clip": 1.5},  # frozen
    "rule": {"weight": -0.5, "normalise": "none"},
    "words": {"normalise": "running"},
}
FROZEN = {"model": (1.0, 2.0)}
RAW = {"model": column(1.0, 3.0, 9.0), "rule": column(1.0, 0.0, 4.0), "words": column(-1.0, 0.0, 4.0)}
TRUNCATED = torch.tensor([False, True, True])


@pytest.mark.parametrize(
    ("truncation", "scores"),
    [
        ("keep", [-1.4258201, 1.5370900, 2.3887301]),
        ("subtract", [-1.4258201, 0.0370900, 0.8887301]),
        ("replace", [-1.4258201, -1.5, -1.5]),
    ],
)
def test_a_batch_has_its_golden_values(truncation: Truncation, scores: list[float]) -> None:
    composed = reward(TERMS, FROZEN, truncation).compose(RAW, TRUNCATED, learn=True)
    assert composed.terms["model"].tolist() == [0.0, 2.0, 3.0]  # (x − 1) / 2, clipped to 1.5, doubled
    assert composed.terms["rule"].tolist() == [-0.5, 0.0, -2.0]
    deviation = math.sqrt((2.0**2 + 1.0 + 3.0**2) / 3)
    torch.testing.assert_close(composed.terms["words"], column(-2.0, -1.0, 3.0) / deviation)
    assert composed.clipped == {"model": 1 / 3}
    assert composed.scores.dtype == torch.float32
    assert composed.scores.tolist() == pytest.approx(scores, abs=1e-6)


numbers = st.floats(-100.0, 100.0)
batches = st.integers(2, 30).flatmap(lambda size: st.lists(numbers, min_size=size, max_size=size))


@given(batches)
def test_running_normalisation_has_mean_0_and_deviation_1(values: list[float]) -> None:
    raw = column(*values)
    composed = reward({"words": {"normalise": "running"}}).compose({"words": raw}, none_of(len(raw)), learn=True)
    term = composed.terms["words"]
    assert abs(float(term.mean())) < 1e-6
    if float(raw.std(correction=0)) > 1e-6:
        assert float(term.std(correction=0)) == pytest.approx(1.0, abs=1e-6)


@given(batches, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_only_orders_the_rewards(values: list[float], draw: random.Random) -> None:
    raw = {name: column(*values) * factor for name, factor in (("model", 1.0), ("rule", 0.3), ("words", -2.0))}
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(draw.randrange(1000)))
    one = reward(TERMS, FROZEN).compose(raw, none_of(len(values)), learn=True)
    moved = {name: numbers[order] for name, numbers in raw.items()}
    other = reward(TERMS, FROZEN).compose(moved, none_of(len(values)), learn=True)
    torch.testing.assert_close(other.scores, one.scores[order], atol=1e-4, rtol=1e-4)
    assert other.clipped == one.clipped


@given(batches, st.floats(0.1, 5.0), st.sampled_from(["frozen", "running", "none"]))
def test_clipped_values_stay_within_their_bounds_and_are_counted(
    values: list[float], clip: float, normalise: str
) -> None:
    raw = {"model": column(*values)}
    free = reward({"model": {"normalise": normalise}}, FROZEN).compose(raw, none_of(len(values)), learn=True)
    bound = reward({"model": {"normalise": normalise, "clip": clip}}, FROZEN)
    composed = bound.compose(raw, none_of(len(values)), learn=True)
    assert float(composed.terms["model"].abs().max()) <= clip
    torch.testing.assert_close(composed.terms["model"], free.terms["model"].clamp(-clip, clip), rtol=0, atol=0)
    assert composed.clipped["model"] == float((free.terms["model"].abs() > clip).double().mean())
    assert free.clipped == {}


@given(batches, st.floats(-4.0, 4.0), st.floats(-4.0, 4.0))
def test_scores_are_linear_in_the_weights(values: list[float], one: float, other: float) -> None:
    raw = {"model": column(*values), "words": column(*values).flip(0)}

    def scores(model: float, words: float) -> Tensor:
        terms: dict[str, dict[str, object]] = {
            "model": {"weight": model},
            "words": {"weight": words, "normalise": "running"},
        }
        composed = reward(terms, FROZEN).compose(raw, none_of(len(values)), learn=True)
        torch.testing.assert_close(sum(composed.terms.values()), composed.scores.double(), rtol=1e-6, atol=1e-5)
        return composed.scores.double()

    torch.testing.assert_close(
        scores(one, other), one * scores(1.0, 0.0) + other * scores(0.0, 1.0), rtol=1e-5, atol=1e-3
    )


@given(st.lists(batches, min_size=1, max_size=5))
def test_running_moments_are_those_of_all_answers_so_far(parts: list[list[float]]) -> None:
    running = reward({"words": {"normalise": "running"}})
    for part in parts:
        last = running.compose({"words": column(*part)}, none_of(len(part)), learn=True)
    everything = column(*(value for part in parts for value in part))
    whole = reward({"words": {"normalise": "running"}})
    expected = whole.compose({"words": everything}, none_of(len(everything)), learn=True)
    if float(everything.std(correction=0)) > 1e-3:
        torch.testing.assert_close(last.terms["words"], expected.terms["words"][-len(parts[-1]) :])


def test_an_evaluation_uses_the_moments_so_far_and_leaves_them() -> None:
    running = reward({"words": {"normalise": "running"}})
    held_out = {"words": column(5.0, 7.0)}
    assert running.compose(held_out, none_of(2), learn=False).terms["words"].tolist() == [5.0, 7.0]
    running.compose({"words": column(5.0)}, none_of(1), learn=True)
    assert running.compose(held_out, none_of(2), learn=False).terms["words"].tolist() == [0.0, 2.0]
    running.compose({"words": column(9.0)}, none_of(1), learn=True)
    before = running.state()
    assert running.compose(held_out, none_of(2), learn=False).terms["words"].tolist() == [-1.0, 0.0]
    assert running.state() == before


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6 / 3])
def test_equal_values_become_zero(value: float) -> None:
    running = reward({"words": {"normalise": "running"}})
    composed = running.compose({"words": column(*[value] * 37)}, none_of(37), learn=True)
    assert float(composed.scores.abs().max()) < 1e-9


def test_a_frozen_term_without_numbers_is_taken_as_it_is_and_a_deviation_of_0_as_1() -> None:
    assert reward({"rule": {}}).compose({"rule": column(3.0)}, none_of(1), learn=True).scores.tolist() == [3.0]
    flat = reward({"model": {}}, {"model": (1.0, 0.0)})
    assert flat.compose({"model": column(3.0)}, none_of(1), learn=True).scores.tolist() == [2.0]


@given(st.lists(batches, min_size=2, max_size=6), st.integers(0, 5))
def test_a_resumed_reward_equals_an_uninterrupted_one_to_the_bit(parts: list[list[float]], cut: int) -> None:
    whole, resumed = reward(TERMS, FROZEN), reward(TERMS, FROZEN)
    for index, part in enumerate(parts):
        if index == cut:
            state = json.loads(json.dumps(resumed.state(), allow_nan=False))
            resumed = reward(TERMS, FROZEN)
            assert resumed.restore(state) == []
        raw = {name: column(*part) for name in TERMS}
        one, other = (each.compose(raw, none_of(len(part)), learn=True) for each in (whole, resumed))
        assert torch.equal(one.scores, other.scores)
    assert whole.state() == resumed.state()


def test_a_state_of_other_terms_is_told_and_what_fits_is_taken() -> None:
    running: dict[str, object] = {"normalise": "running"}
    old = reward({"kept": running, "gone": running})
    old.compose({"kept": column(1.0, 3.0), "gone": column(0.0, 1.0)}, none_of(2), learn=True)
    new = reward({"kept": running, "fresh": running})
    assert new.restore(old.state()) == [
        "the checkpoint has no mean and deviation of rewards.fresh, so they start anew.",
        "the checkpoint's mean and deviation of rewards.gone are no longer used.",
    ]
    assert new.state()["running"] == {"kept": [2.0, 2.0, 2.0], "fresh": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_names_its_term_and_spoils_nothing(broken: float) -> None:
    composing = reward(TERMS, FROZEN)
    before = composing.state()
    with pytest.raises(RunFailed, match=f"gave {broken} for 1 of 3 answers") as caught:
        composing.compose(RAW | {"rule": column(1.0, broken, 2.0)}, TRUNCATED, learn=True)
    assert caught.value.where == "rewards.rule"
    assert composing.state() == before


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="values of model for a reward of model, rule, words"):
        reward(TERMS).compose({"model": column(1.0)}, none_of(1), learn=True)
    with pytest.raises(ValueError, match="different shapes"):
        reward(TERMS).compose(RAW, none_of(2), learn=True)
    with pytest.raises(InvalidInput, match=r"mean 0\.0 and deviation nan") as caught:
        reward(TERMS, {"model": (0.0, math.nan)})
    assert caught.value.where == "rewards.model"
