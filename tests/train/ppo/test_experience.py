"""From scored answers to advantages, returns and statistics: a golden vector, by hand, and each answer alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.data.prompts import Prompt
from engine.generate.sampling import Response
from engine.spec.ppo import Ppo
from engine.train.ppo.episodes import Episode
from engine.train.ppo.experience import Experience, Scored, estimate, lengths_and_ends

LP, REF, VALUES = [-1.0, -0.5, -2.0, -0.3], [-1.2, -0.4, -1.5, -0.8], [0.5, 0.6, 0.4, 0.9]
ADVANTAGES, RETURNS = [1.296119, 1.280125, 1.547500, 1.050000], [1.796119, 1.880125, 1.947500, 1.950000]


def episode(
    number: int, ids: Sequence[int], *, ended: bool = True, log_probs: Sequence[float] | None = None
) -> Episode:
    sampled = torch.zeros(len(ids)) if log_probs is None else torch.tensor(log_probs)
    prompt = Prompt([1, 2, 3], (), (), None, None, None, "")
    return Episode(number, prompt, Response(torch.tensor(ids, dtype=torch.int32), sampled, ended), "")


def scored(*rows: tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]) -> Scored:
    """Of log-probabilities, those of the reference, entropies and values by episode."""
    return Scored(*([torch.tensor(values) for values in kind] for kind in zip(*rows, strict=True)))


def estimated(
    episodes: Sequence[Episode], scored_by: Scored, scores: Sequence[float], *, kl_coef: float = 0.1, **settings: Any
) -> tuple[list[Experience], dict[str, float]]:
    groups = torch.arange(len(episodes)) // 2
    given = Ppo.model_validate({"gamma": 1.0, "lam": 0.95, "whiten": False} | settings)
    return estimate(episodes, scored_by, torch.tensor(scores), groups, kl_coef=kl_coef, settings=given)


def test_the_golden_vector_also_beside_longer_and_shorter_answers() -> None:
    golden = (LP, REF, [1.0] * 4, VALUES)
    longer = ([-0.1] * 6, [-0.2] * 6, [0.5] * 6, [7.0] * 6)
    shorter = ([-3.0], [-1.0], [0.5], [-7.0])
    for rows, place in (((golden,), 0), ((longer, golden, shorter), 1), ((golden, longer), 0)):
        episodes = [episode(number, range(len(row[0]))) for number, row in enumerate(rows)]
        experience, _ = estimated(episodes, scored(*rows), [2.0] * len(rows))
        found = experience[place]
        assert found.advantages.tolist() == pytest.approx(ADVANTAGES, abs=1e-6)
        assert found.returns.tolist() == pytest.approx(RETURNS, abs=1e-6)
        assert found.old_log_probs.tolist() == pytest.approx(LP)
        assert found.old_values.tolist() == pytest.approx(VALUES)
        assert found.episode is episodes[place] and len(found) == 7


numbers = st.floats(-3, 0, width=32)
rows = st.integers(1, 5).flatmap(lambda n: st.tuples(*[st.lists(numbers, min_size=n, max_size=n)] * 4))


@given(st.lists(st.tuples(rows, numbers), min_size=2, max_size=6), st.sampled_from(["gae", "rloo", "grpo"]))
def test_together_answers_get_what_each_gets_alone(batch: list[Any], estimator: str) -> None:
    everything, scores = [row for row, _ in batch], [score for _, score in batch]
    episodes = [episode(number, range(len(row[0]))) for number, row in enumerate(everything)]
    whole, statistics = estimated(episodes, scored(*everything), scores, estimator=estimator)
    for pair in range(0, len(batch), 2):  # the answers to one prompt stay together
        part = slice(pair, pair + 2)
        alone, _ = estimated(episodes[part], scored(*everything[part]), scores[part], estimator=estimator)
        for one, other in zip(whole[part], alone, strict=True):
            assert one.advantages.tolist() == pytest.approx(other.advantages.tolist(), abs=1e-5)
            assert one.returns.tolist() == pytest.approx(other.returns.tolist(), abs=1e-5)
    # The statistics over all answers, written down without tensors.
    divergences = [[a - b for a, b in zip(row[0], row[1], strict=True)] for row in everything]
    count, tokens = len(batch), sum(map(len, divergences))
    total = math.fsum(map(math.fsum, divergences))
    assert statistics["kl"] == pytest.approx(total / count, abs=1e-5)
    assert statistics["kl_per_token"] == pytest.approx(total / tokens, abs=1e-5)
    assert statistics["entropy"] == pytest.approx(math.fsum(sum(row[2]) for row in everything) / tokens, abs=1e-5)
    assert statistics["score"] == pytest.approx(math.fsum(scores) / count, abs=1e-5)
    assert statistics["shaped_reward"] == pytest.approx((math.fsum(scores) - 0.1 * total) / count, abs=1e-5)
    advantages = [value for one in whole for value in one.advantages.tolist()]
    assert statistics["advantage"] == pytest.approx(math.fsum(advantages) / tokens, abs=1e-5)
    assert statistics["response_length"] == tokens / count
    assert ("explained_variance" in statistics) <= (estimator == "gae")


def test_advantages_are_whitened_over_the_tokens_of_all_answers() -> None:
    everything = [(LP, REF, [1.0] * 4, VALUES), ([-1.0], [-1.0], [1.0], [3.0])]
    episodes = [episode(number, range(len(row[0]))) for number, row in enumerate(everything)]
    (plain, statistics), (whitened, same) = (
        estimated(episodes, scored(*everything), [2.0, -1.0], whiten=whiten) for whiten in (False, True)
    )
    before = torch.cat([one.advantages for one in plain])
    expected = (before - before.mean()) / before.std(correction=0)
    assert torch.cat([one.advantages for one in whitened]).tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert [one.returns.tolist() for one in whitened] == [one.returns.tolist() for one in plain]
    assert same == statistics  # they tell of what whitening hides


def test_the_estimators_without_a_critic_compare_shaped_rewards_within_a_prompt() -> None:
    # Answers of prompt 0: shaped rewards 1 − .5·(.4) = .8 and 0 − .5·0 = 0; of prompt 1: 2 and 3.
    everything = [
        ([-0.5, -0.5], [-0.7, -0.7], [1.0, 1.0], [0.0, 0.0]),
        ([-1.0], [-1.0], [1.0], [0.0]),
        ([-1.0], [-1.0], [1.0], [0.0]),
        ([-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]),
    ]
    episodes = [episode(number, range(len(row[0]))) for number, row in enumerate(everything)]
    scores = [1.0, 0.0, 2.0, 3.0]
    found, statistics = estimated(episodes, scored(*everything), scores, kl_coef=0.5, estimator="rloo")
    expected = [[0.8, 0.8], [-0.8], [-1.0], [1.0, 1.0, 1.0]]
    assert [one.advantages.tolist() for one in found] == [pytest.approx(row, abs=1e-6) for row in expected]
    assert "explained_variance" not in statistics
    found, _ = estimated(episodes, scored(*everything), scores, kl_coef=0.5, estimator="grpo")
    # Over the deviation of two values, which is their distance over √2.
    expected = [[math.sqrt(0.5)] * 2, [-math.sqrt(0.5)], [-math.sqrt(0.5)], [math.sqrt(0.5)] * 3]
    assert [one.advantages.tolist() for one in found] == [pytest.approx(row, abs=2e-4) for row in expected]


def test_the_gap_to_the_sampler_is_that_of_the_tokens() -> None:
    episodes = [episode(0, range(2), log_probs=[-1.0, -2.5]), episode(1, range(1), log_probs=[-0.25])]
    rows = [([-1.0, -2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]), ([-0.5], [0.0], [0.0], [0.0])]
    _, statistics = estimated(episodes, scored(*rows), [0.0, 0.0])
    assert statistics["logprob_gap"] == pytest.approx((0.0 + 0.5 + 0.25) / 3)


def test_a_critic_that_is_right_explains_all_of_the_variance() -> None:
    episodes = [episode(0, range(2)), episode(1, range(2))]
    right = [([-1.0] * 2, [-1.0] * 2, [0.0] * 2, [value] * 2) for value in (1.0, 3.0)]
    _, statistics = estimated(episodes, scored(*right), [1.0, 3.0])
    assert statistics["explained_variance"] == pytest.approx(1.0)
    useless = [([-1.0] * 2, [-1.0] * 2, [0.0] * 2, [0.0] * 2) for _ in range(2)]
    _, statistics = estimated(episodes, scored(*useless), [1.0, 3.0], lam=1.0)
    assert statistics["explained_variance"] == pytest.approx(0.0)
    # Where all returns are equal there is nothing to explain.
    _, statistics = estimated(episodes, scored(*useless), [1.0, 1.0], lam=1.0)
    assert "explained_variance" not in statistics


def test_how_answers_end_and_repeat_themselves() -> None:
    answers = [
        episode(0, [5, 6, 7, 8, 5, 6, 7, 8, 5]),  # of its 6 phrases of 4 tokens, 4 are distinct
        episode(1, [5, 6, 7, 8], ended=False),  # the same phrase in another answer is no repetition
        episode(2, [5, 6, 7]),  # too short for a phrase
        episode(3, [5] * 5, ended=False),  # 2 phrases, 1 distinct
    ]
    found = lengths_and_ends(answers)
    assert found["response_length"] == (9 + 4 + 3 + 5) / 4
    assert found["eos_rate"] == found["truncated_rate"] == 0.5
    assert found["repetition_rate"] == pytest.approx(1 - (4 + 1 + 1) / (6 + 1 + 2))
    assert lengths_and_ends(answers[2:3])["repetition_rate"] == 0.0
