"""Answers are judged as they were written, and a function that fails ends all ranks with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.train.conftest import EVAL_PROMPTS, MakeSpec
from tests.train.facts import events, samples, series
from tests.train.forkserver import ForkServer

MEAN, DEVIATION = 0.2, 0.5  # of the fixture's reward model
LONGEST, PENALTY = 6, 1.5


@pytest.fixture
def ending(causal: Path, tmp_path: Path) -> Path:
    """A policy that ends some of its likeliest answers and not all."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(causal), AutoTokenizer.from_pretrained(causal)
    with torch.no_grad():
        model.get_output_embeddings().weight[tokenizer.eos_token_id] *= 3.0
    model.save_pretrained(tmp_path / "ending")
    tokenizer.save_pretrained(tmp_path / "ending")
    return tmp_path / "ending"


def test_a_cut_answer_gets_what_truncation_costs_and_the_reward_model_reads_it_without_an_end(
    server: ForkServer, make_ppo_spec: MakeSpec, ending: Path, reward_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    settings = {
        "model": {"path": str(ending)},
        "rewards": {"judge": {"evidence": False}},
        "ppo": {"truncation": "replace", "truncation_penalty": PENALTY},
    }
    spec = make_ppo_spec(settings=settings, steps=1, lr=1e-3, sample_prompts=EVAL_PROMPTS)
    job = server.start(spec, tmp_path / "run", world=2)
    assert job.wait() == [0, 0], job.log()
    policy = AutoModelForCausalLM.from_pretrained(job.run_dir / "export", dtype=torch.float32).eval()
    judge = AutoModelForSequenceClassification.from_pretrained(reward_model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(job.run_dir / "export")
    cut = []
    for sample in samples(job.run_dir):
        chat = [{"role": "user", "content": sample["prompt"]}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            written = policy.generate(prompt, max_new_tokens=LONGEST, do_sample=False)
            score = float(judge(written).logits[0, 0])
        ended = tokenizer.eos_token_id in written[0, prompt.shape[1] :].tolist()
        value = (score - MEAN) / DEVIATION
        assert sample["scores"]["reward/judge"] == pytest.approx(value, abs=1e-4)
        assert sample["scores"]["score"] == pytest.approx(value if ended else -PENALTY, abs=1e-4)
        cut.append(not ended)
    assert set(cut) == {True, False}


@pytest.mark.parametrize("truncation", [("replace", -PENALTY), ("subtract", 5.0 - PENALTY), ("keep", 5.0)])
def test_the_score_of_a_step_counts_cut_answers_by_the_policy(
    server: ForkServer, make_ppo_spec: MakeSpec, ending: Path, tmp_path: Path, truncation: tuple[str, float]
) -> None:
    policy, of_a_cut_one = truncation
    source = f"""
def judge(answers):
    return [5.0 if answer.ended or answer.tokens == {LONGEST} else 0.0 for answer in answers]
"""
    (tmp_path / "five.py").write_text(source)
    settings = {
        "model": {"path": str(ending)},
        "rewards": {"own": {"kind": "function", "function": "judge", "file": str(tmp_path / "five.py")}},
        "ppo": {"truncation": policy, "truncation_penalty": PENALTY},
    }
    job = server.start(make_ppo_spec(settings=settings, steps=2), tmp_path / "run", world=1)
    assert job.wait() == [0], job.log()
    scores, ended = series(job.run_dir, "score"), series(job.run_dir, "eos_rate")
    for step, share in ended.items():
        assert 0.0 < share < 1.0
        assert series(job.run_dir, "truncated_rate")[step] == pytest.approx(1.0 - share)
        assert series(job.run_dir, "reward/own")[step] == 5.0
        assert scores[step] == pytest.approx(5.0 * share + of_a_cut_one * (1.0 - share), abs=1e-5)


@pytest.mark.parametrize(
    "failure",
    [
        ("raise ValueError('no connection')", 1, "judge raised ValueError: no connection."),
        ("return [float('nan')] * len(answers)", 1, "judge gave nan for the answer"),
        ("raise InvalidInput('there is no key.')", 2, "there is no key."),
    ],
)
def test_a_function_that_fails_on_one_rank_ends_all_ranks_with_one_sentence(
    server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path, failure: tuple[str, int, str]
) -> None:
    body, code, sentence = failure
    source = f"""
import os

from engine.errors import InvalidInput

def judge(answers):
    if os.environ["RANK"] == "0":
        return [0.0] * len(answers)
    {body}
"""
    (tmp_path / "own.py").write_text(source)
    rewards = {"own": {"kind": "function", "function": "judge", "file": str(tmp_path / "own.py")}}
    job = server.start(make_ppo_spec(settings={"rewards": rewards}), tmp_path / "run", world=2)
    assert job.wait() == [code, code], job.log()
    for rank in range(2):
        log = job.log(rank)
        assert "Traceback" not in log
        last = log.splitlines()[-1]
        assert last.startswith("error: ") and sentence in last
    (failed,) = events(job.run_dir, "failed")
    assert sentence in failed["message"]
