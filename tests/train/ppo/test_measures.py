"""What is measured of answers: verdicts, without passages and with, and how far passages support them."""

from __future__ import annotations

import math

import pytest
import torch

from engine.data.prompts import Prompt
from engine.generate.sampling import Response
from engine.train.ppo.episodes import Episode
from engine.train.ppo.measures import groundedness, verdicts

READ = ("Ada was born in Zelt.",)


def episode(text: str, group: str, passages: tuple[str, ...] = (), *, answerable: bool | None = True) -> Episode:
    answers = ("Zelt",) if answerable else ()
    prompt = Prompt([1], (), answers, answerable, None, group, "", passages)
    return Episode(0, prompt, Response(torch.tensor([2]), torch.zeros(1), True), text)


def test_answers_with_passages_are_counted_apart() -> None:
    episodes = [
        episode("Zelt", "known"),
        episode("Oslo", "unknown"),
        episode("unknown", "unknown"),
        episode("Oslo", "unknown"),
        episode("Zelt", "unknown", READ),
        episode("unknown", "absent", READ, answerable=False),
        episode("Oslo", "absent", READ, answerable=None),  # nothing is known about answers
    ]
    counted = verdicts(episodes, ["unknown"])
    assert counted == {
        "correct": 0.25,
        "abstained": 0.25,
        "hallucinated": 0.5,
        "correct/known": 1.0,
        "abstained/known": 0.0,
        "hallucinated/known": 0.0,
        "correct/unknown": 0.0,
        "abstained/unknown": pytest.approx(1 / 3),
        "hallucinated/unknown": pytest.approx(2 / 3),
        "correct/with_passages": 0.5,
        "abstained/with_passages": 0.5,
        "hallucinated/with_passages": 0.0,
        "correct/unknown/with_passages": 1.0,
        "abstained/unknown/with_passages": 0.0,
        "hallucinated/unknown/with_passages": 0.0,
        "correct/absent/with_passages": 0.0,
        "abstained/absent/with_passages": 1.0,
        "hallucinated/absent/with_passages": 0.0,
    }


def test_where_all_prompts_carry_passages_nothing_is_said_of_closed_book() -> None:
    assert {name.rpartition("/")[2] for name in verdicts([episode("Zelt", "known", READ)], [])} == {"with_passages"}


def test_groundedness_is_the_mean_over_the_answers_that_claim_something() -> None:
    supported = torch.tensor([1.0, math.nan, 0.5, math.nan, 0.0], dtype=torch.float64)
    assert groundedness(supported) == {"groundedness": 0.5}
    assert groundedness(torch.full((3,), math.nan, dtype=torch.float64)) == {}
