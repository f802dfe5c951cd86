"""Answers are drawn from the very distribution that scores them, and company changes nothing."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.data.prompts import Prompt
from engine.generate.sampling import Limits, Response, TransformersSampler, episode_seed
from engine.train.ppo.episodes import Episode, EpisodeBatch
from engine.train.ppo.networks import token_log_probs

CPU = torch.device("cpu")
WORDS, EOS, PAD = 23, 1, 0
SHAPES = ("llama", "gpt2")


def network(shape: str, *, words: int = WORDS, seed: int = 0) -> Any:
    """A tiny model: a Llama with grouped queries, or a GPT-2 with learnt positions."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    ids: dict[str, Any] = {"eos_token_id": EOS, "pad_token_id": PAD, "bos_token_id": None}
    if shape == "gpt2":
        # The usual deviation of .02 makes a flat model, with nothing to tell positions by.
        config = GPT2Config(vocab_size=words, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3)
        config.update(ids)
        return GPT2LMHeadModel(config).eval()
    llama = LlamaConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        **ids,
    )
    return LlamaForCausalLM(llama).eval()


def sampler(model: Any, *, longest: int = 9, batch_size: int = 8, temperature: float = 0.7) -> TransformersSampler:
    limits = Limits(EOS, PAD, max_response_length=longest, temperature=temperature, batch_size=batch_size)
    return TransformersSampler(model, limits, CPU)


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Prompts of 1 to 7 tokens."""
    draw = random.Random(seed)
    return [[draw.randrange(2, WORDS) for _ in range(draw.randint(1, 7))] for _ in range(count)]


def same(one: Sequence[Response], other: Sequence[Response]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.ids, b.ids) and a.ended == b.ended and torch.allclose(a.log_probs, b.log_probs, atol=1e-5)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_draws_the_same_answer_in_any_company(shape: str) -> None:
    model, asked = network(shape), prompts(14)
    seeds = [episode_seed(1, number) for number in range(len(asked))]
    expected = sampler(model, batch_size=14).sample(asked, seeds)
    assert {response.ended for response in expected} == {True, False}
    assert len({len(response.ids) for response in expected}) > 3
    for size in (1, 3, 5):
        assert same(sampler(model, batch_size=size).sample(asked, seeds), expected), size
    order = random.Random(1).sample(range(len(asked)), len(asked))
    shuffled = sampler(model).sample([asked[i] for i in order], [seeds[i] for i in order])
    assert same(shuffled, [expected[i] for i in order])
    others = sampler(model).sample(asked, [seed + 1 for seed in seeds])
    assert not same(others, expected)


def test_seeds_of_neighbours_have_nothing_in_common() -> None:
    seeds = {episode_seed(seed, step, number) for seed in range(3) for step in range(10) for number in range(50)}
    assert len(seeds) == 1500
    assert max(seeds) > 2**54  # spread over all of its bits
    assert episode_seed(1, 23) != episode_seed(12, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_drawn_is_scored_alike(shape: str) -> None:
    model, asked, temperature = network(shape), prompts(14), 0.7
    responses = sampler(model, temperature=temperature).sample(asked, list(range(14)))
    episodes = [
        Episode(number, Prompt(ids, (), (), None, None, None, ""), response, "")
        for number, (ids, response) in enumerate(zip(asked, responses, strict=True))
    ]
    batch = EpisodeBatch.of(episodes, PAD, CPU)
    with torch.no_grad():
        scored, _ = token_log_probs(model, batch, temperature, keeps_logits=True)
    for row, response in zip(scored, responses, strict=True):
        length = len(response.ids)
        assert row[:length].tolist() == pytest.approx(response.log_probs.tolist(), abs=1e-5)
        ids = response.ids.tolist()
        assert EOS not in ids[:-1]
        assert response.ended == (ids[-1] == EOS)
        assert response.ended or length == 9


@pytest.mark.parametrize("shape", SHAPES)
def test_without_seeds_it_writes_what_transformers_writes_greedily(shape: str) -> None:
    for seed in range(3):
        model, asked = network(shape, seed=seed), prompts(9, seed)
        for ids, response in zip(asked, sampler(model).sample(asked, None), strict=True):
            prompt = torch.tensor([ids])
            written = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=9)[
                0, len(ids) :
            ]
            assert response.ids.tolist() == written.tolist()


def exact_distribution(model: Any, prompt: list[int], words: int, longest: int, temperature: float) -> dict[Any, float]:
    """Return the probability of every answer, token by token."""
    whole: dict[tuple[int, ...], float] = {}

    def extend(answer: tuple[int, ...], log_prob: float) -> None:
        if len(answer) == longest or (answer and answer[-1] == EOS):
            whole[answer] = math.exp(log_prob)
            return
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0, -1].double()
        for token, added in enumerate((logits / temperature).log_softmax(-1).tolist()):
            extend((*answer, token), log_prob + added)

    extend((), 0.0)
    assert sum(whole.values()) == pytest.approx(1.0)
    assert len(whole) == sum((words - 1) ** n for n in range(longest)) + (words - 1) ** longest
    return whole


def test_answers_come_as_often_as_the_model_says() -> None:
    words, longest, draws = 5, 2, 4000
    model, asked = network("llama", words=words), [[2, 3, 4], [4]]  # the second one is padded on the left
    each = [exact_distribution(model, prompt, words, longest, 0.7) for prompt in asked]
    seeds = [episode_seed(7, number) for number in range(2 * draws)]
    responses = sampler(model, longest=longest, batch_size=1000).sample(asked * draws, seeds)
    for place, expected in enumerate(each):
        counts = Counter(tuple(response.ids.tolist()) for response in responses[place::2])
        assert counts.keys() <= expected.keys()
        # Pearson's statistic is about its degrees of freedom, with a deviation of √(2·degrees).
        statistic = sum((counts[answer] - draws * p) ** 2 / (draws * p) for answer, p in expected.items())
        degrees = len(expected) - 1
        assert statistic < degrees + 5 * math.sqrt(2 * degrees)


class Forbidding(nn.Module):
    """A model for which some tokens are impossible."""

    def __init__(self, model: Any, forbidden: Sequence[int]) -> None:
        super().__init__()
        self.model, self.config, self.forbidden = model, model.config, list(forbidden)

    def forward(self, **arguments: Any) -> Any:
        written = self.model(**arguments)
        written.logits[..., self.forbidden] = -math.inf
        return written


def test_a_token_of_probability_0_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.generate import sampling

    # At the ends, where the smallest and the largest number that decides a token fall, and between.
    forbidden = [0, 2, 7, 8, WORDS - 2, WORDS - 1]
    model = Forbidding(network("llama"), forbidden)
    asked = prompts(64)
    extremes = {0: 0.0, 1: 1.0 - 2.0**-53}

    def uniforms(seed: int, length: int) -> Tensor:
        if seed in extremes:
            return torch.full((length,), extremes[seed], dtype=torch.float64)
        return drawn(seed, length)

    drawn = sampling._uniforms
    monkeypatch.setattr(sampling, "_uniforms", uniforms)
    responses = sampler(model, batch_size=64).sample(asked, list(range(64)))
    written = {token for response in responses for token in response.ids.tolist()}
    assert not written & set(forbidden)
    assert len(written) > 10
    assert responses[0].ids[0] == EOS  # the first that is possible
    assert responses[1].ids[0] == WORDS - 3  # the last one
    assert all(response.log_probs.isfinite().all() for response in responses)


class Counting(nn.Module):
    """A model that notes how many rows it computed in each forward pass."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.rows: list[int] = []

    def forward(self, **arguments: Any) -> Any:
        self.rows.append(len(arguments["input_ids"]))
        return self.model(**arguments)


def test_rows_that_have_ended_leave_the_batch() -> None:
    model = Counting(network("llama"))
    responses = sampler(model, longest=30, batch_size=40).sample(prompts(40), list(range(40)))
    lengths = [len(response.ids) for response in responses]
    # The forward pass before token t is of the rows that are still written at t, and of at most a third as many more.
    for step, rows in enumerate(model.rows):
        writing = sum(length > step for length in lengths)
        assert writing <= rows <= max(1, 4 * writing // 3 + 1)
    assert model.rows == sorted(model.rows, reverse=True)
    assert model.rows[0] == 40 and model.rows[-1] <= 10
    assert len(model.rows) == max(lengths)  # nothing is computed after the last token


def test_the_end_of_a_turn_ends_an_answer_too() -> None:
    model, asked, seeds = network("llama"), prompts(20), list(range(20))
    ends = (5, 9)
    plain = sampler(model).sample(asked, seeds)
    limits = Limits(EOS, PAD, max_response_length=9, temperature=0.7, batch_size=8, also_ends=ends)
    stopped = TransformersSampler(model, limits, CPU).sample(asked, seeds)
    for one, other in zip(plain, stopped, strict=True):
        ids = one.ids.tolist()
        at = min((ids.index(end) + 1 for end in ends if end in ids), default=len(ids))
        assert other.ids.tolist() == ids[:at]
        assert other.ended == (ids[at - 1] in (EOS, *ends))
    assert sum(len(response.ids) for response in stopped) < sum(len(response.ids) for response in plain)
