"""Answers of a model folder: the same in any company, with the probability that the model gives them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import InvalidInput, NotFound, RunFailed
from engine.generate.answering import Answerer, Writing, _answered
from engine.generate.grounding import Evidence, GroundedPrompt, Grounding, grounded_prompts
from engine.generate.sampling import Response
from tests.generate.conftest import POSITIONS

QUESTIONS = [
    "Where was Ada born?",
    "Who bakes?",
    "Why?",
    "In which town does the cook Cy live?",
    "Who was born in Oslo?",
]
PASSAGES = [[Evidence("Ada was born in Oslo.", "Ada")], [Evidence("Bo bakes."), Evidence("Cy bakes.")], [], [], []]
WRITING = Writing(max_response_length=7, samples=2, seed=5, batch_size=3)
PLAIN = Grounding(style="plain")


@pytest.fixture(scope="module")
def answerer(folder: Path) -> Answerer:
    return Answerer.load(folder, device="cpu")


def test_an_answer_is_the_same_in_any_company(answerer: Answerer) -> None:
    together = answerer.answer(QUESTIONS, PASSAGES, WRITING, grounding=PLAIN)
    alone = [
        answerer.answer([question], [own], WRITING, grounding=PLAIN)[0]
        for question, own in reversed(list(zip(QUESTIONS, PASSAGES, strict=True)))
    ]
    for one, other in zip(together, reversed(alone), strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-5)
        assert (one.text, one.samples, one.tokens, one.passages) == (
            other.text,
            other.samples,
            other.tokens,
            other.passages,
        )
    assert [one.passages for one in together] == [(0,), (0, 1), (), (), ()]
    assert len({one.samples for one in together}) == len(together)
    other_seed = answerer.answer(QUESTIONS, PASSAGES, Writing(7, samples=2, seed=6), grounding=PLAIN)
    assert [one.text for one in other_seed] == [one.text for one in together]
    assert all(one.samples != other.samples for one, other in zip(together, other_seed, strict=True))


def test_the_probability_is_what_the_model_gives_the_answer(answerer: Answerer) -> None:
    network, tokenizer = answerer._network, answerer._tokenizer
    drawn_hotter = Writing(7, samples=1, temperature=3.0)  # changes the samples only
    answers = answerer.answer(QUESTIONS, None, drawn_hotter)
    prompts = grounded_prompts(QUESTIONS, [None] * 5, tokenizer, Grounding(), longest_prompt=POSITIONS)
    for prompt, answer in zip(prompts, answers, strict=True):
        written = network.generate(
            torch.tensor([prompt.ids]), attention_mask=torch.ones(1, len(prompt.ids)), max_new_tokens=7, do_sample=False
        )
        added = written[0, len(prompt.ids) :]
        with torch.no_grad():
            log_probs = network(written).logits[0].log_softmax(-1)[len(prompt.ids) - 1 : -1]
        each = log_probs.gather(-1, added.unsqueeze(-1))
        assert answer.tokens == len(added)
        assert answer.log_prob == pytest.approx(float(each.mean()), abs=1e-5)
        assert answer.probability == pytest.approx(math.exp(float(each.sum())), rel=1e-4)
        assert answer.text == tokenizer.decode(added, skip_special_tokens=True).strip()
        assert answer.ended == (int(added[-1]) == tokenizer.eos_token_id)


def test_an_answer_knows_what_it_cites_and_whether_it_abstains() -> None:
    def answered(text: str) -> Any:
        prompt = GroundedPrompt((), [1], (4, 7), False)
        response = Response(torch.tensor([5, 1]), torch.tensor([-0.5, -1.5]), True)
        return _answered(text, response, prompt, (), Writing(3))

    one = answered("Oslo [2]. Rome [3-4], [1].")
    assert (one.citations, one.wrong_citations, one.passages) == ((1, 2), (3, 4), (4, 7))
    assert (one.log_prob, one.probability) == (-1.0, pytest.approx(math.exp(-2)))
    assert not one.abstained and answered("I don't know.").abstained and answered("Unknown").abstained


def test_what_passages_do_not_support_is_withheld(answerer: Answerer) -> None:
    plain = answerer.answer(QUESTIONS[:4], PASSAGES[:4], WRITING, grounding=PLAIN)
    worth = [0.7, 0.69, None, 0.0]
    asked: list[Any] = []

    def check(answers: Sequence[str], passages: Sequence[Sequence[str]], questions: Sequence[str]) -> Any:
        asked.append((list(answers), [list(own) for own in passages], list(questions)))
        return worth

    checked = answerer.answer(
        QUESTIONS[:4], PASSAGES[:4], WRITING, grounding=Grounding("plain", "No idea"), check=check, min_support=0.7
    )
    texts = [one.text for one in plain]
    assert asked == [(texts, [["Ada: Ada was born in Oslo."], ["Bo bakes.", "Cy bakes."], [], []], QUESTIONS[:4])]
    assert [one.text for one in checked] == [texts[0], "No idea", texts[2], "No idea"]
    assert [one.withheld for one in checked] == [None, texts[1], None, texts[3]]
    assert [one.support for one in checked] == worth
    assert [one.abstained for one in checked] == [False, True, False, True]


def test_what_cannot_answer_is_told_in_one_sentence(folder: Path, answerer: Answerer, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"takes \d+ tokens without passages") as told:
        answerer.answer(["Who? " * 300], None, WRITING)
    assert told.value.where == "question 1"
    with pytest.raises(InvalidInput, match=f"reads {POSITIONS} tokens"):
        answerer.answer(QUESTIONS, None, Writing(POSITIONS))
    with pytest.raises(NotFound, match="there is no model"):
        Answerer.load(tmp_path)

    def damaged(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    truncated = damaged("truncated") / "model.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:5000])
    with pytest.raises(InvalidInput, match="the model cannot be loaded"):
        Answerer.load(truncated.parent)
    (damaged("other") / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidInput, match="the tokenizer cannot be loaded"):
        Answerer.load(tmp_path / "other")
    taller = damaged("taller") / "config.json"
    taller.write_text(json.dumps(json.loads(taller.read_text()) | {"num_hidden_layers": 3}))
    with pytest.raises(InvalidInput, match=r"weights of the model are missing, model\.layers\.2"):
        Answerer.load(taller.parent)
    broken = Answerer.load(folder, device="cpu")
    with torch.no_grad():
        broken._network.model.norm.weight.fill_(float("nan"))
    with pytest.raises(RunFailed, match="no numbers"):
        broken.answer(QUESTIONS, None, WRITING)
