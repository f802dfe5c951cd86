"""How episodes become tensors: every response token finds its place, and pads change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.data.conversations import Message
from engine.data.prompts import Prompt
from engine.generate.sampling import Response
from engine.train.ppo.episodes import Episode, EpisodeBatch, stacked, unstacked
from engine.train.ppo.networks import token_log_probs, token_values
from engine.train.ppo.terms import Answer

CPU = torch.device("cpu")
WORDS, TEMPERATURE = 17, 0.7

# Prompt and response of an episode, as token ids.
both = st.tuples(*(st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=longest) for longest in (6, 5)))
several = st.lists(both, min_size=1, max_size=5)


def episode(number: int, prompt: Sequence[int], response: Sequence[int], *, ended: bool = True) -> Episode:
    ids = torch.tensor(response, dtype=torch.int32)
    asked = Prompt(list(prompt), (), (), None, None, None, "")
    return Episode(number, asked, Response(ids, torch.zeros(len(ids)), ended), "")


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def alone(model: Any, prompt: Sequence[int], response: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy of each response token, of this sequence alone and written out."""
    distributions = (model(torch.tensor([[*prompt, *response]])).logits[0].double() / TEMPERATURE).log_softmax(-1)
    before = distributions[len(prompt) - 1 : -1]
    picked = torch.stack([row[token] for row, token in zip(before, response, strict=True)])
    return picked, -(before.exp() * before).sum(-1)


@given(several, st.booleans(), st.integers(0, WORDS - 1))
@settings(max_examples=60)
def test_together_they_say_what_each_says_alone(
    model: Any, rows: list[tuple[list[int], list[int]]], keeps_logits: bool, pad: int
) -> None:
    episodes = [episode(number, *row) for number, row in enumerate(rows)]
    batch = EpisodeBatch.of(episodes, pad, CPU)
    longest = max(len(response) for _, response in rows)
    assert batch.response_mask.tolist() == [[t < len(response) for t in range(longest)] for _, response in rows]
    with torch.no_grad():
        log_probs, entropy = token_log_probs(model, batch, TEMPERATURE, keeps_logits=keeps_logits)
        expected = [alone(model, *row) for row in rows]
    for row, (picked, uncertain) in enumerate(expected):
        assert log_probs[row, : len(picked)].tolist() == pytest.approx(picked.tolist(), abs=1e-5)
        assert entropy[row, : len(picked)].tolist() == pytest.approx(uncertain.tolist(), abs=1e-5)
    assert log_probs.isfinite().all() and entropy.isfinite().all()  # also where nothing is


@given(several)
def test_a_value_stands_at_the_position_that_predicts_its_token(rows: list[tuple[list[int], list[int]]]) -> None:
    episodes = [episode(number, *row) for number, row in enumerate(rows)]
    batch = EpisodeBatch.of(episodes, 0, CPU)
    width = batch.input_ids.shape[1]
    assert width == max(map(len, episodes))
    # Each position says which one it is.
    positions = torch.arange(float(width)) + 100.0 * torch.arange(len(rows)).unsqueeze(-1)
    values = unstacked(token_values(positions, batch), episodes)
    tokens = unstacked(batch.tokens, episodes)
    for row, (prompt, response) in enumerate(rows):
        assert values[row].tolist() == [100.0 * row + len(prompt) - 1 + t for t in range(len(response))]
        assert tokens[row].tolist() == response
        assert batch.input_ids[row, : len(episodes[row])].tolist() == [*prompt, *response]


@given(several)
def test_what_is_stacked_comes_apart_again(rows: list[tuple[list[int], list[int]]]) -> None:
    episodes = [episode(number, *row) for number, row in enumerate(rows)]
    values = [torch.tensor(response, dtype=torch.float32) for _, response in rows]
    whole = stacked(values, 7, CPU)
    assert whole.shape == (len(rows), 7)
    assert float(whole.sum()) == sum(sum(response) for _, response in rows)  # 0 where nothing is
    assert all(map(torch.equal, unstacked(whole, episodes), values))


def test_a_rank_without_episodes_computes_what_counts_for_nothing(model: Any) -> None:
    batch = EpisodeBatch.of([], 0, CPU)
    log_probs, entropy = token_log_probs(model, batch, TEMPERATURE, keeps_logits=True)
    assert log_probs.shape == entropy.shape == batch.response_mask.shape == stacked([], 1, CPU).shape == (1, 1)
    assert not batch.response_mask.any()
    assert unstacked(log_probs, []) == []


def test_what_the_terms_of_the_reward_see_of_an_episode() -> None:
    asked = (Message("user", "where ?"),)
    prompt = Prompt([5, 6], asked, ("oslo",), True, "ada went to oslo", "near", "")
    cut = Episode(3, prompt, Response(torch.tensor([7, 8, 9]), torch.zeros(3), False), "to rome")
    assert cut.answer == Answer("where ?", "to rome", ("oslo",), True, "ada went to oslo", False, 3, "near")
    assert len(cut) == 5 and cut.ids.tolist() == [5, 6, 7, 8, 9]
